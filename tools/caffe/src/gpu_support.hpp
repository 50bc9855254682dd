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

// Why these GPUs can't be used, in one sentence; empty where they can. They are opened for it, and the
// last of them is the current one then. Without numbers: why there is none at all, and none is opened.
std::string GpuProblem(const std::vector<int>& devices = {});

// The numbers of the GPUs that can be used, if no other process has them to itself: none is opened.
std::vector<int> UsableGpus();

// Whether what was compiled for `architectures`, such as "75-real,90-real,90-virtual", runs on a GPU of
// this compute capability: code on its own generation's later models, PTX (virtual) on all that are newer.
bool HoldsCodeFor(const std::string& architectures, int major, int minor);

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

// FP32 unless CAFFE_TF32=1: cuDNN would use TF32 by itself, cuBLAS would not, and the article's arithmetic
// is FP32.
void SetArithmetic(cublasHandle_t handle);
#ifdef USE_CUDNN
cudnnMathType_t ConvolutionArithmetic();
#endif

// Bytes of workspace that one cuDNN convolution may take, from CAFFE_CUDNN_WORKSPACE_MB. Two run side by
// side: a layer's gradients, or two of its groups.
size_t CudnnWorkspaceLimit();

// Whether CAFFE_CUDNN_LOG=1 asks for the algorithms that cuDNN layers choose.
bool CudnnLog();
#endif

}  // namespace caffe

#endif  // CAFFE_GPU_SUPPORT_HPP_
