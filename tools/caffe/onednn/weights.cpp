#include "onednn/weights.hpp"

#include <algorithm>

namespace caffe {
namespace onednn {
namespace {

CAFFE_EVERY_CPU
float SumOfAbsolutes(const float* numbers, size_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; ++i) sum += std::fabs(numbers[i]);
  return sum;
}

}  // namespace

// Forgets what was made of the plain weights where they are no longer what they were the last time.
void Weights::Look(size_t count, SyncedMemory* memory) {
  const float* const data = static_cast<const float*>(memory->cpu_data());
  const uint64_t version = memory->version();
  if (version != 0 && version == version_) return;
  const uint64_t fingerprint = Fingerprint(data, count);
  if (fingerprint != fingerprint_) {
    fresh_ = false;
    sum_ = -1;
  }
  version_ = version;
  fingerprint_ = fingerprint;
}

dnnl::memory Weights::In(const Desc& wanted, const Desc& plain, SyncedMemory* memory) {
  const float* const data = static_cast<const float*>(memory->cpu_data());
  if (wanted == plain) return At(plain, data);
  Look(Count(plain), memory);
  const dnnl::memory kept = At(wanted, buffer_.Reserve(wanted.get_size()));
  if (!fresh_ || desc_ != wanted) Reorder(At(plain, data), kept);
  fresh_ = true;
  desc_ = wanted;
  return kept;
}

dnnl::memory Weights::Once(const Desc& wanted, const Desc& plain, const float* data) {
  if (wanted == plain) return At(plain, data);
  const dnnl::memory copy = At(wanted, Scratch(kWeights, wanted.get_size()));
  Reorder(At(plain, data), copy);
  return copy;
}

float Weights::LargestSum(size_t rows, size_t count, SyncedMemory* memory) {
  Look(count, memory);
  if (sum_ < 0) sum_ = LargestSumOnce(rows, count, static_cast<const float*>(memory->cpu_data()));
  return sum_;
}

float Weights::LargestSumOnce(size_t rows, size_t count, const float* data) {
  const size_t columns = count / rows;
  float largest = 0;
#pragma omp parallel for reduction(max : largest)
  for (size_t i = 0; i < rows; ++i) {
    const float sum = SumOfAbsolutes(data + i * columns, columns);
    largest = std::max(largest, std::isfinite(sum) ? sum : HUGE_VALF);
  }
  return largest;
}

}  // namespace onednn
}  // namespace caffe
