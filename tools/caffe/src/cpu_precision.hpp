// Which precision Caffe's CPU mode computes in. Ours, not BVLC's.
#ifndef CAFFE_CPU_PRECISION_HPP_
#define CAFFE_CPU_PRECISION_HPP_

#include <string>

namespace caffe {

struct CpuPrecision {
  bool asked;           // CAFFE_CPU_PRECISION says bf16
  std::string why_not;  // a clause that says why it is FP32 all the same; empty where it is bf16
  bool bf16() const { return asked && why_not.empty(); }
};

// What CAFFE_CPU_PRECISION asks for, read once, and what comes of it, said in the log. In bf16, convolutions
// and inner products of a net of phase TEST multiply bf16 and add FP32, but where FP32 is faster
// (onednn/convolution.cpp); all else is FP32. Ends the process where the setting is neither bf16 nor fp32.
const CpuPrecision& PrecisionOfCpu();

// Ends the process where training would be in bf16.
void RequirePrecisionOfTraining();

}  // namespace caffe

#endif  // CAFFE_CPU_PRECISION_HPP_
