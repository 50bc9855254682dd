#ifdef USE_CUDNN
#include "cudnn_shared.hpp"

#include <map>

#include "caffe/common.hpp"

namespace caffe {
namespace cudnn {

void LaunchJoin();  // in cudnn_shared.cu

cudnnHandle_t Shared::handle(int which) {
  cudnnHandle_t& handle = handles_[which];
  if (!handle) {
    CUDNN_CHECK(cudnnCreate(&handle));
    if (which > 0) {
      CUDA_CHECK(cudaStreamCreate(&streams_[which]));
      CUDNN_CHECK(cudnnSetStream(handle, streams_[which]));
    }
  }
  return handle;
}

void* Shared::Workspace(size_t bytes) {
  if (bytes <= workspace_bytes_) return workspace_;
  CUDA_CHECK(cudaFree(workspace_));  // waits for whoever still uses it
  workspace_bytes_ = 0;
  if (cudaMalloc(&workspace_, bytes) != cudaSuccess) {
    cudaGetLastError();  // or the next check of a kernel reports it
    return workspace_ = nullptr;
  }
  workspace_bytes_ = bytes;
  return workspace_;
}

void Shared::Join() { LaunchJoin(); }

Shared::~Shared() {
  int current = 0;
  CUDA_CHECK(cudaGetDevice(&current));
  if (current != device_) CUDA_CHECK(cudaSetDevice(device_));
  for (int which = 0; which < kHandles; ++which) {
    if (handles_[which]) CUDNN_CHECK(cudnnDestroy(handles_[which]));
    if (streams_[which]) CUDA_CHECK(cudaStreamDestroy(streams_[which]));
  }
  CUDA_CHECK(cudaFree(workspace_));
  if (current != device_) CUDA_CHECK(cudaSetDevice(current));
}

Shared& SharedHold::operator*() {
  // by device; layers own what is in it, so that nothing is left for the thread's end
  thread_local std::map<int, std::weak_ptr<Shared>> of_thread;
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  std::weak_ptr<Shared>& here = of_thread[device];
  if (!shared_ || here.lock() != shared_) {
    std::shared_ptr<Shared> shared = here.lock();
    if (!shared) here = shared = std::make_shared<Shared>(device);
    shared_ = std::move(shared);
  }
  return *shared_;
}

}  // namespace cudnn
}  // namespace caffe
#endif  // USE_CUDNN
