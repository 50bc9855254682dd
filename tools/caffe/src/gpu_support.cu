#include <cuda_runtime.h>

namespace caffe {

__global__ void Probe() {}

bool HoldsCodeForDevice() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, Probe) == cudaSuccess;
}

}  // namespace caffe
