#include "onednn/weights.hpp"

namespace caffe {
namespace onednn {

dnnl::memory Weights::In(const Desc& wanted, const Desc& plain, SyncedMemory* memory) {
  const float* const data = static_cast<const float*>(memory->cpu_data());
  if (wanted == plain) return At(plain, data);
  const bool fresh = Fresh(data, Count(plain), memory->version()) && desc_ == wanted;
  const dnnl::memory kept = At(wanted, buffer_.Reserve(wanted.get_size()));
  if (!fresh) Reorder(At(plain, data), kept);
  desc_ = wanted;
  return kept;
}

// Whether the plain weights are what they were the last time; remembers them.
bool Weights::Fresh(const float* data, size_t count, uint64_t version) {
  if (version != 0 && version == version_) return true;
  const uint64_t fingerprint = Fingerprint(data, count);
  const bool fresh = fingerprint == fingerprint_;
  version_ = version;
  fingerprint_ = fingerprint;
  return fresh;
}

dnnl::memory Weights::Once(const Desc& wanted, const Desc& plain, const float* data) {
  if (wanted == plain) return At(plain, data);
  const dnnl::memory copy = At(wanted, Scratch(kWeights, wanted.get_size()));
  Reorder(At(plain, data), copy);
  return copy;
}

}  // namespace onednn
}  // namespace caffe
