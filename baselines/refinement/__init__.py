"""Static refinement: a network is edited before training so that I_min < I_res (Richter and Pal)."""
