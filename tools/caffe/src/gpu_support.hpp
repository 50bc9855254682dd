// Which GPUs this Caffe can use, told in sentences, and the arithmetic it uses on them. Ours, not BVLC's.
#ifndef CAFFE_GPU_SUPPORT_HPP_
#define CAFFE_GPU_SUPPORT_HPP_

#include <cstddef>
#include <string>
#include <vector>

#ifndef CPU_ONLY
#include <cublas_v2.h>
#include <cuda_runtime.h>
#ifdef USE_CUDNN
#include <cudnn.h>
#endif
#endif

namespace caffe {

// Why these GPUs can't be used, in one sentence; empty where they can. Without numbers: why there is none at
// all.
std::string GpuProblem(const std::vector<int>& devices = {});

// The numbers of the GPUs that can be used.
std::vector<int> UsableGpus();

// The numbers in "0,1"; throws std::invalid_argument where it is something else.
std::vector<int> ParseGpus(const std::string& list);

// For a command's -gpu ("", "all" or "0,1"): ends the program with one sentence where that can't be had.
void RequireGpus(const std::string& flag);

// For pycaffe: throws std::invalid_argument, a ValueError in Python, where the GPU (any, for -1) can't be
// used.
void RequireGpu(int device);

#ifndef CPU_ONLY
// Whether CUDA finds a GPU. Where not, a CUDA build runs on the CPU, and warns of it once.
bool HaveGpu();

// One of the current device's attributes that cudaDeviceProp has lost in CUDA 13.
int DeviceAttribute(cudaDeviceAttr attribute);

// FP32 unless CAFFE_TF32=1: cuDNN would use TF32 by itself, cuBLAS would not, and the article's arithmetic is
// FP32.
void SetArithmetic(cublasHandle_t handle);
#ifdef USE_CUDNN
cudnnMathType_t ConvolutionArithmetic();
#endif

// Bytes of workspace a cuDNN convolution may take, from CAFFE_CUDNN_WORKSPACE_MB. A layer holds three of them
// a group.
size_t CudnnWorkspaceLimit();
#endif

}  // namespace caffe

#endif  // CAFFE_GPU_SUPPORT_HPP_
