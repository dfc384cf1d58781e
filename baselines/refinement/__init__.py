"""Static refinement: strides edited before training until I_min < I_res (Richter and Pal)."""
