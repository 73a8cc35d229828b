/* CLNN_PASTE(a, b): the word ab, of what the macros a and b stand for. */
#ifndef CLNN_PASTE
#define CLNN_PASTE_(a, b) a##b
#define CLNN_PASTE(a, b) CLNN_PASTE_(a, b)
#endif
