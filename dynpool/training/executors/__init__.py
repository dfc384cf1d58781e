"""Where the runs of a comparison are trained: in this process, in processes of this machine, or as tasks of Ray."""
