// Weights that a layer keeps in another layout, or type, than Caffe's plain floats.
#ifndef CAFFE_ONEDNN_WEIGHTS_HPP_
#define CAFFE_ONEDNN_WEIGHTS_HPP_

#include "onednn/engine.hpp"

namespace caffe {
namespace onednn {

// Made again whenever the plain ones' contents have changed, whoever changed them. pycaffe lends out arrays
// that are written through without a call: while there is one, nothing less than a look at the contents
// helps.
class Weights {
 public:
  dnnl::memory In(const Desc& wanted, const Desc& plain, SyncedMemory* memory);
  // The same for weights that will have changed by the next time, as in training: nothing is kept.
  static dnnl::memory Once(const Desc& wanted, const Desc& plain, const float* data);
  // The largest sum of absolute values among so many rows of the plain ones, infinite where a number is
  // infinite, or none. Remembered until they change.
  float LargestSum(size_t rows, size_t count, SyncedMemory* memory);
  // The same of weights that will have changed by the next time.
  static float LargestSumOnce(size_t rows, size_t count, const float* data);
  // What they are kept in; an empty one at first.
  const Desc& desc() const { return desc_; }

 private:
  void Look(size_t count, SyncedMemory* memory);

  Desc desc_;
  Buffer buffer_;
  uint64_t version_ = 0, fingerprint_ = 0;
  bool fresh_ = false;  // what is kept
  float sum_ = -1;      // below 0 where it is to be computed
};

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_WEIGHTS_HPP_
