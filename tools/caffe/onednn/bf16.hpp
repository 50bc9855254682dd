// Numbers of 16 bits: the upper half of a float.
#ifndef CAFFE_ONEDNN_BF16_HPP_
#define CAFFE_ONEDNN_BF16_HPP_

#include <cstdint>
#include <cstring>

#include "onednn/engine.hpp"

namespace caffe {
namespace onednn {

struct Bf16 {
  uint16_t bits;
};

CAFFE_INLINE float ToFloat(Bf16 number) {
  const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// To the nearest, a tie to the even one; a NaN stays one.
CAFFE_INLINE Bf16 ToBf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint32_t nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return {static_cast<uint16_t>(value == value ? nearest : 0x7FC0)};
}

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_BF16_HPP_
