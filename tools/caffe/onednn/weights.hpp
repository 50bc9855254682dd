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
  // What they are kept in; an empty one at first.
  const Desc& desc() const { return desc_; }

 private:
  bool Fresh(const float* data, size_t count, uint64_t version);

  Desc desc_;
  Buffer buffer_;
  uint64_t version_ = 0, fingerprint_ = 0;
};

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_WEIGHTS_HPP_
