// What the cuDNN layers of a thread share on a GPU: handles and one workspace. One of each a layer would add
// up: Caffe makes 55 handles for VGG16. To be included by caffe/util/cudnn.hpp. Ours, not BVLC's.
#ifndef CAFFE_CUDNN_SHARED_HPP_
#define CAFFE_CUDNN_SHARED_HPP_

#include <cudnn.h>

#include <cstddef>
#include <memory>

namespace caffe {
namespace cudnn {

// Three handles, on the default stream and on two streams of their own. What runs on the default stream
// waits for the other two and they for it, so layers follow each other there; only what may run side by
// side within a layer goes to handles 1 and 2, and calls Join afterwards.
class Shared {
 public:
  static constexpr int kHandles = 3;

  explicit Shared(int device) : device_(device) {}
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  // Made when it is first asked for; the current device must be the one of the constructor.
  cudnnHandle_t handle(int which);

  // At least so many bytes of device memory, the same for every caller: a caller's handles may use it
  // until the next one's do. Null where the GPU has no room for it; CUDA then remembers no error.
  void* Workspace(size_t bytes);

  // What is called on any handle from now on waits for what handles 1 and 2 have been given.
  void Join();

 private:
  const int device_;
  cudnnHandle_t handles_[kHandles] = {};
  cudaStream_t streams_[kHandles] = {};  // the first stays null: the default stream
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
};

// A layer's hold on what its thread shares on the current device. The last layer that lets go frees it.
class SharedHold {
 public:
  Shared& operator*();
  Shared* operator->() { return &**this; }
  // The first handle: Caffe's layers pass this where they had a handle of their own.
  operator cudnnHandle_t() { return (**this).handle(0); }

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace cudnn
}  // namespace caffe

#endif  // CAFFE_CUDNN_SHARED_HPP_
