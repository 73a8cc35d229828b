"""OpenCL C sources: *.cl, the headers they share in lib/, and tuned parameters in tuned/. Data, no code."""
