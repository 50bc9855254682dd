#include "onednn/engine.hpp"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "caffe/common.hpp"
#include "cpu_precision.hpp"
#include "onednn/bf16.hpp"

extern "C" int openblas_get_num_threads() __attribute__((weak));  // absent with another BLAS

namespace caffe {
namespace onednn {
namespace {

bool Has(dnnl::cpu_isa isa) {
  const int wanted = static_cast<int>(isa);
  return (static_cast<int>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

bool Decide() {
  const char* setting = std::getenv("CAFFE_CPU_ENGINE");
  const std::string engine = setting ? setting : "";
  if (engine == "caffe") {
    LOG(INFO) << "CPU engine: Caffe's own, as CAFFE_CPU_ENGINE asks";
    return false;
  }
  LOG_IF(WARNING, !engine.empty() && engine != "onednn")
      << "CAFFE_CPU_ENGINE is '" << engine << "', neither caffe nor onednn: left aside";
  if (!Has(dnnl::cpu_isa::avx2)) {
    LOG(INFO) << "CPU engine: Caffe's own, as this CPU has no AVX2";
    return false;
  }
  const dnnl_version_t* version = dnnl_version();
  LOG(INFO) << "CPU engine: oneDNN " << version->major << '.' << version->minor << '.' << version->patch
            << (BlockChannels() == 16 ? ", AVX-512" : ", AVX2")
            << " (CAFFE_CPU_ENGINE=caffe, or engine: CAFFE in a layer, gives Caffe's own code)";
  return true;
}

std::atomic<int> first_process(0);

dnnl::stream& Stream() {
  thread_local dnnl::stream stream(Cpu());
  return stream;
}

CAFFE_EVERY_CPU
uint64_t FingerprintOfBlock(const float* data, size_t count) {
  constexpr int kLanes = 32;
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;
  uint64_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i;
  const size_t words = count / 2;
  size_t at = 0;
  for (; at + kLanes <= words; at += kLanes) {
    uint64_t word[kLanes];
    memcpy(word, data + 2 * at, sizeof(word));
    // the rotation brings the high bits down, which multiplying alone never does: sign changes must not
    // cancel
    for (int i = 0; i < kLanes; ++i) lanes[i] = (((lanes[i] << 29) | (lanes[i] >> 35)) ^ word[i]) * kOdd;
  }
  uint64_t all = count;
  for (int i = 0; i < kLanes; ++i) all = (((all << 29) | (all >> 35)) ^ lanes[i]) * kOdd;
  for (size_t i = 2 * at; i < count; ++i) {
    uint32_t word;
    memcpy(&word, data + i, sizeof(word));
    all = (((all << 29) | (all >> 35)) ^ word) * kOdd;
  }
  return all;
}

CAFFE_EVERY_CPU
void RectifyRange(const float* x, float* y, size_t count, float slope) {
#pragma omp simd
  // 0 + makes -0 a 0
  for (size_t i = 0; i < count; ++i) y[i] = x[i] > 0 ? x[i] : 0.f + slope * x[i];
}

CAFFE_EVERY_CPU
void RectifyRange(const Bf16* x, Bf16* y, size_t count, float slope) {
#pragma omp simd
  for (size_t i = 0; i < count; ++i) {
    const float value = ToFloat(x[i]);
    y[i] = ToBf16(value > 0 ? value : 0.f + slope * value);
  }
}

// As whole numbers, without their sign, floats are in their order, and those that are none come last.
CAFFE_EVERY_CPU
uint32_t LargestBits(const uint32_t* numbers, size_t count) {
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, numbers[i] & 0x7FFFFFFF);
  return largest;
}

CAFFE_EVERY_CPU
uint32_t LargestBits(const uint16_t* numbers, size_t count) {
  uint16_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<uint16_t>(numbers[i] & 0x7FFF));
  }
  return static_cast<uint32_t>(largest) << 16;  // bf16 is the upper half
}

template <typename Bits>
uint32_t LargestBitsOfAll(const void* numbers, size_t count) {
  constexpr size_t kBlock = 1 << 14;
  uint32_t largest = 0;
#pragma omp parallel for reduction(max : largest)
  for (size_t at = 0; at < count; at += kBlock) {
    largest =
        std::max(largest, LargestBits(static_cast<const Bits*>(numbers) + at, std::min(kBlock, count - at)));
  }
  return largest;
}

template <typename Number>
void RectifyAll(const void* x, void* y, size_t count, float slope) {
  constexpr size_t kBlock = 1 << 14;
#pragma omp parallel for
  for (size_t at = 0; at < count; at += kBlock) {
    RectifyRange(static_cast<const Number*>(x) + at, static_cast<Number*>(y) + at,
                 std::min(kBlock, count - at), slope);
  }
}

}  // namespace

bool Wanted() {
  static const bool wanted = Decide();
  return wanted;
}

bool HasBf16() { return Has(dnnl::cpu_isa::avx512_core_bf16); }

bool HasAmx() { return Has(dnnl::cpu_isa::avx512_core_amx); }

Type TypeIn(Phase phase) { return PrecisionOfCpu().bf16() && phase == TEST ? Type::bf16 : Type::f32; }

int BlockChannels() { return Has(dnnl::cpu_isa::avx512_core) ? 16 : 8; }

dnnl::memory::format_tag BlockTag(Type type) {
  if (type == Type::bf16) return dnnl::memory::format_tag::nhwc;
  return BlockChannels() == 16 ? dnnl::memory::format_tag::nChw16c : dnnl::memory::format_tag::nChw8c;
}

Threads::Threads(bool large) : before_(omp_get_max_threads()), count_(large ? before_ : 1) {
  if (openblas_get_num_threads) count_ = std::max(1, std::min(count_, openblas_get_num_threads()));
  const int process = getpid();
  int first = 0;
  if (!first_process.compare_exchange_strong(first, process) && first != process) {
    LOG_IF_EVERY_N(WARNING, count_ > 1, 1000000)
        << "oneDNN runs on one thread here: this process was forked from one that had used it";
    count_ = 1;
  }
  omp_set_num_threads(count_);
}

Threads::~Threads() { omp_set_num_threads(before_); }

Buffer::~Buffer() { std::free(data_); }

void* Buffer::Reserve(size_t bytes) {
  if (bytes <= size_) return data_;
  constexpr size_t kLargePage = 2u << 20;
  const bool large = bytes >= 2 * kLargePage;
  const size_t alignment = large ? kLargePage : 64;
  std::free(data_);
  size_ = (bytes + alignment - 1) / alignment * alignment;
  data_ = std::aligned_alloc(alignment, size_);
  CHECK(data_) << "out of memory: " << bytes << " bytes for the oneDNN engine";
  if (large) madvise(data_, size_, MADV_HUGEPAGE);
  return data_;
}

void Layout::WritePlain(void* plain, size_t size) const {
  const Desc to = Plain(desc_.dims());
  CHECK_LE(to.get_size(), size);
  const Threads threads(Large(Count(desc_)));
  Reorder(At(desc_, data()), At(to, plain));
}

const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory At(const Desc& desc, const void* data) {
  return dnnl::memory(desc, Cpu(), const_cast<void*>(data));
}

void Run(const dnnl::primitive& primitive, const std::unordered_map<int, dnnl::memory>& arguments) {
  primitive.execute(Stream(), arguments);
  Stream().wait();
}

void Reorder(const dnnl::memory& from, dnnl::memory to, bool add) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum(1.f);
    attributes.set_post_ops(sum);
  }
  const dnnl::reorder::primitive_desc what(Cpu(), from.get_desc(), Cpu(), to.get_desc(), attributes);
  const Desc scratchpad = what.scratchpad_desc();
  Run(dnnl::reorder(what),
      {{DNNL_ARG_FROM, from},
       {DNNL_ARG_TO, to},
       {DNNL_ARG_SCRATCHPAD, At(scratchpad, Scratch(kReorderScratchpad, scratchpad.get_size()))}});
}

Desc Plain(const dnnl::memory::dims& dims, Type type) {
  dnnl::memory::dims strides(dims.size(), 1);
  for (int i = static_cast<int>(dims.size()) - 2; i >= 0; --i) strides[i] = strides[i + 1] * dims[i + 1];
  return Desc(dims, type, strides);
}

Desc Plain(const Blob<float>& blob) {
  return Plain(dnnl::memory::dims(blob.shape().begin(), blob.shape().end()));
}

size_t Count(const Desc& desc) {
  return desc.get_size() / (desc.data_type() == Type::bf16 ? sizeof(Bf16) : sizeof(float));
}

Layout* LayoutOf(const SyncedMemory& memory, const Desc& plain) {
  Layout* layout = static_cast<Layout*>(memory.form().get());
  return layout && layout->desc().dims() == plain.dims() ? layout : nullptr;
}

Layout* Hold(SyncedMemory* memory, const Desc& desc) {
  Layout* layout = static_cast<Layout*>(memory->form().get());
  if (!layout || layout->desc() != desc) {
    layout = new Layout(desc);
    memory->set_form(std::shared_ptr<SyncedMemory::Form>(layout));
  }
  layout->set_bound(HUGE_VALF);
  return layout;
}

void* Scratch(Slot slot, size_t bytes) {
  thread_local std::array<Buffer, kSlots> buffers;
  return buffers[slot].Reserve(std::max<size_t>(bytes, 1));
}

dnnl::memory Read(SyncedMemory* memory, const Desc& plain, const Desc& wanted, Slot slot) {
  const Layout* layout = LayoutOf(*memory, plain);
  const dnnl::memory held = layout ? At(layout->desc(), layout->data()) : At(plain, memory->cpu_data());
  if (held.get_desc() == wanted) return held;
  const dnnl::memory copy = At(wanted, Scratch(slot, wanted.get_size()));
  Reorder(held, copy);
  return copy;
}

float Largest(Type type, const void* numbers, size_t count) {
  const uint32_t bits =
      (type == Type::bf16 ? LargestBitsOfAll<uint16_t> : LargestBitsOfAll<uint32_t>)(numbers, count);
  float largest;
  memcpy(&largest, &bits, sizeof(largest));
  return largest == largest ? largest : HUGE_VALF;
}

float BoundOf(SyncedMemory* memory, const Desc& plain) {
  Layout* const layout = LayoutOf(*memory, plain);
  if (!layout) return Largest(Type::f32, memory->cpu_data(), Count(plain));
  if (!std::isfinite(layout->bound())) {
    layout->set_bound(Largest(layout->desc().data_type(), layout->data(), Count(layout->desc())));
  }
  return layout->bound();
}

Result::Result(SyncedMemory* memory, const Desc& plain, const Desc& wanted, Slot slot) {
  if (wanted == plain) {
    written_ = At(plain, memory->mutable_cpu_data());
  } else if (memory->TakesForm()) {
    layout_ = Hold(memory, wanted);
    written_ = At(wanted, layout_->data());
  } else {
    written_ = At(wanted, Scratch(slot, wanted.get_size()));
    plain_ = At(plain, memory->mutable_cpu_data());
  }
}

void Result::Finish() {
  if (plain_) Reorder(written_, plain_);
}

uint64_t Fingerprint(const float* data, size_t count) {
  constexpr size_t kBlock = 1 << 16;
  std::vector<uint64_t> blocks((count + kBlock - 1) / kBlock);
#pragma omp parallel for
  for (size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = FingerprintOfBlock(data + i * kBlock, std::min(kBlock, count - i * kBlock));
  }
  uint64_t all = count;
  for (const uint64_t block : blocks) all = (((all << 29) | (all >> 35)) ^ block) * 0x9E3779B97F4A7C15u;
  return all;
}

void Rectify(Type type, const void* x, void* y, size_t count, float slope) {
  (type == Type::bf16 ? RectifyAll<Bf16> : RectifyAll<float>)(x, y, count, slope);
}

}  // namespace onednn
}  // namespace caffe
