"""Everything that touches OpenCL: drivers, devices, programs, queues. The only importer of pyopencl."""
