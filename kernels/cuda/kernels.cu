// All kernels, as one module.
#include "attention_decode.cu"
#include "cache.cu"
#include "elementwise.cu"
#include "embedding.cu"
#include "gemv.cu"
#include "norm.cu"
#include "rope.cu"
