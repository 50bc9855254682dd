#include "onednn/few_rows.hpp"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "onednn/engine.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#define CAFFE_AVX512 __attribute__((target("avx512f")))
#else
#define CAFFE_AVX512
#endif

namespace caffe {
namespace onednn {
namespace {

constexpr int kLanes = 16;
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

// 24 sums, 4 inputs and a weight: 29 of the 32 registers. So much of a row of weights at a time that what is
// multiplied with it stays in the cache next to it.
constexpr int kOutputs = 6, kRows = 4;
constexpr size_t kInputs = 4096;

struct Product {
  const float* x;
  int rows;
  const float* weights;
  size_t inputs, outputs;
  const float* bias;
  float* y;
};

CAFFE_INLINE void LoadVector(const float* from, Vector* to) { memcpy(to, from, sizeof(Vector)); }

CAFFE_INLINE float SumOf(const Vector& vector) {
  float sums[kLanes];
  memcpy(sums, &vector, sizeof(sums));
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// Adds inputs [from, to) of some rows and outputs to y, and meanwhile asks the memory for the weights
// `ahead`.
template <int outputs, int rows>
CAFFE_INLINE void AddTile(const Product& p, size_t output, int row, size_t from, size_t to,
                          const float* ahead) {
  const float* const weights = p.weights + output * p.inputs;
  const float* const x = p.x + row * p.inputs;
  Vector sums[outputs][rows] = {};
  size_t at = from;
  for (; at + kLanes <= to; at += kLanes) {
    Vector inputs[rows];
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) LoadVector(x + i * p.inputs + at, &inputs[i]);
#pragma GCC unroll 8
    for (int o = 0; o < outputs; ++o) {
      Vector weight;
      LoadVector(weights + o * p.inputs + at, &weight);
      __builtin_prefetch(ahead + o * p.inputs + at);
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) sums[o][i] += weight * inputs[i];
    }
  }
  for (int o = 0; o < outputs; ++o) {
    for (int i = 0; i < rows; ++i) {
      float sum = SumOf(sums[o][i]);
      for (size_t rest = at; rest < to; ++rest) {
        sum += weights[o * p.inputs + rest] * x[i * p.inputs + rest];
      }
      p.y[(row + i) * p.outputs + output + o] += sum;
    }
  }
}

template <int outputs>
CAFFE_INLINE void AddRows(const Product& p, size_t output, size_t from, size_t to, const float* ahead) {
  int row = 0;
  for (; row + kRows <= p.rows; row += kRows) AddTile<outputs, kRows>(p, output, row, from, to, ahead);
  for (; row < p.rows; ++row) AddTile<outputs, 1>(p, output, row, from, to, ahead);
}

CAFFE_AVX512 void Compute(const Product& p, size_t first, size_t last) {
  for (int row = 0; row < p.rows; ++row) {
    for (size_t output = first; output < last; ++output) {
      p.y[row * p.outputs + output] = p.bias ? p.bias[output] : 0;
    }
  }
  for (size_t from = 0; from < p.inputs; from += kInputs) {
    const size_t to = std::min(p.inputs, from + kInputs);
    size_t output = first;
    for (; output + kOutputs <= last; output += kOutputs) {
      const size_t next = std::min(output + kOutputs, p.outputs - kOutputs);
      AddRows<kOutputs>(p, output, from, to, p.weights + next * p.inputs);
    }
    for (; output < last; ++output) AddRows<1>(p, output, from, to, p.weights + output * p.inputs);
  }
}

}  // namespace

bool FewRowsPay(int rows, size_t inputs, size_t outputs) {
  constexpr size_t kCache = 1 << 20;  // floats
  return rows <= 32 && inputs * outputs > kCache && outputs >= kOutputs && BlockChannels() == 16;
}

void FewRows(const float* x, int rows, const float* weights, size_t inputs, size_t outputs, const float* bias,
             float* y) {
  const Product product = {x, rows, weights, inputs, outputs, bias, y};
  const size_t groups = (outputs + kOutputs - 1) / kOutputs;
#pragma omp parallel
  {
    const size_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const size_t first = groups * thread / threads * kOutputs,
                 last = groups * (thread + 1) / threads * kOutputs;
    Compute(product, first, std::min(outputs, last));
  }
}

}  // namespace onednn
}  // namespace caffe
