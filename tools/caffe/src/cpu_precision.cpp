#include "cpu_precision.hpp"

#include <cstdlib>

#include "caffe/common.hpp"
#ifdef USE_ONEDNN
#include "onednn/engine.hpp"
#endif

namespace caffe {
namespace {

std::string WhyNoBf16() {
#ifdef USE_ONEDNN
  if (!onednn::Wanted()) return "Caffe's own code computes, which has no other";
  return onednn::HasBf16() ? "" : "this CPU has neither avx512_bf16 nor AMX";
#else
  return "this Caffe was built without oneDNN";
#endif
}

// A clause for the log.
std::string WhatStaysFp32() {
#ifdef USE_ONEDNN
  if (onednn::HasAmx()) return "";
  return "; 3x3 convolutions mostly stay FP32, which Winograd makes faster on a CPU without AMX";
#else
  return "";
#endif
}

CpuPrecision Decide() {
  const char* const setting = std::getenv("CAFFE_CPU_PRECISION");
  const std::string precision = setting ? setting : "";
  if (!precision.empty() && precision != "fp32" && precision != "bf16") {
    LOG(FATAL) << "CAFFE_CPU_PRECISION is '" << precision << "', neither fp32 nor bf16";
  }
  if (precision != "bf16") return {false, ""};
  const std::string why_not = WhyNoBf16();
  LOG_IF(INFO, why_not.empty()) << "CPU precision: bf16 in nets of phase TEST, as CAFFE_CPU_PRECISION asks"
                                << WhatStaysFp32();
  LOG_IF(WARNING, !why_not.empty()) << "CPU precision: FP32, not bf16 as CAFFE_CPU_PRECISION asks: "
                                    << why_not;
  return {true, why_not};
}

}  // namespace

const CpuPrecision& PrecisionOfCpu() {
  static const CpuPrecision precision = Decide();
  return precision;
}

void RequirePrecisionOfTraining() {
  if (Caffe::mode() == Caffe::CPU && PrecisionOfCpu().asked) {
    LOG(FATAL) << "CAFFE_CPU_PRECISION=bf16 is for features: training on the CPU is FP32 only, unset it";
  }
}

}  // namespace caffe
