// The oneDNN engine: what Caffe's CPU mode computes with wherever the prototxt leaves the engine to Caffe.
// Blobs keep Caffe's plain layout for everyone else; between two layers of this engine they may hold another
// one.
#ifndef CAFFE_ONEDNN_ENGINE_HPP_
#define CAFFE_ONEDNN_ENGINE_HPP_

#include <cmath>
#include <cstdint>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>

#include "caffe/blob.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/syncedmem.hpp"

namespace caffe {
namespace onednn {

using Desc = dnnl::memory::desc;
using Type = dnnl::memory::data_type;

// Whether this engine computes: the CPU has AVX2, and CAFFE_CPU_ENGINE does not say "caffe". Said in the log,
// once.
bool Wanted();

// Whether oneDNN can multiply bf16 fast on this CPU, and may.
bool HasBf16();
// Whether by AMX, and not by AVX-512 alone.
bool HasAmx();

// What the forward passes of a net of this phase compute in: f32, or bf16 where PrecisionOfCpu() says so.
Type TypeIn(Phase phase);

// Channels in a block of the layout that this CPU's convolutions want: 16 with AVX-512, else 8.
int BlockChannels();
// The layout that blobs have between convolutions of this type: bf16's has the channels last, whole, as the
// code for AMX wants them.
dnnl::memory::format_tag BlockTag(Type type);

// For as long as it lives, this thread's parallel regions have as many threads as the BLAS that Caffe uses,
// and not more than OpenMP allows: OPENBLAS_NUM_THREADS, OMP_NUM_THREADS and openblas_set_num_threads all
// count. One thread in a process forked after the engine has run, as GNU OpenMP's threads do not survive a
// fork; and one for a piece of work too small to be worth another, which on a busy machine waits longer than
// it computes.
class Threads {
 public:
  explicit Threads(bool large);
  ~Threads();
  int count() const { return count_; }

 private:
  Threads(const Threads&) = delete;
  int before_, count_;
};

// Memory that only grows, aligned for vectors; on large pages from 4 MiB up.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  void* Reserve(size_t bytes);
  void* data() const { return data_; }

 private:
  Buffer(const Buffer&) = delete;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// What a blob holds in a layout of oneDNN's.
class Layout : public SyncedMemory::Form {
 public:
  explicit Layout(const Desc& desc) : desc_(desc) { buffer_.Reserve(desc.get_size()); }
  void WritePlain(void* plain, size_t size) const override;
  const Desc& desc() const { return desc_; }
  void* data() const { return buffer_.data(); }
  // No number in it is larger, by absolute value; infinite where nobody knows.
  float bound() const { return bound_; }
  void set_bound(float bound) { bound_ = bound; }

 private:
  Desc desc_;
  Buffer buffer_;
  float bound_ = HUGE_VALF;
};

const dnnl::engine& Cpu();
dnnl::memory At(const Desc& desc, const void* data);
void Run(const dnnl::primitive& primitive, const std::unordered_map<int, dnnl::memory>& arguments);
void Reorder(const dnnl::memory& from, dnnl::memory to, bool add = false);

// Caffe's plain layout of a blob's dimensions (1 to 6 axes).
Desc Plain(const dnnl::memory::dims& dims, Type type = Type::f32);
Desc Plain(const Blob<float>& blob);

// Numbers that a layout has room for, those among them that only fill up a block.
size_t Count(const Desc& desc);

// The layout that memory holds data of these dimensions in, or null where that is the plain one.
Layout* LayoutOf(const SyncedMemory& memory, const Desc& plain);
// memory, a new one or one that takes a form, holding desc from now on, with nothing written yet.
Layout* Hold(SyncedMemory* memory, const Desc& desc);

// This thread's scratch memory, one piece for each use within a layer.
enum Slot { kFirst, kSecond, kResult, kWeights, kBias, kScratchpad, kReorderScratchpad, kSlots };
void* Scratch(Slot slot, size_t bytes);

// memory's data, of plain layout `plain` unless it holds another one, in layout wanted: as it is, or copied
// into slot.
dnnl::memory Read(SyncedMemory* memory, const Desc& plain, const Desc& wanted, Slot slot);

// The largest of numbers by absolute value; infinite where one is infinite, or none.
float Largest(Type type, const void* numbers, size_t count);
// What none of memory's numbers exceeds: a bound that its layout knows, or else the largest itself.
float BoundOf(SyncedMemory* memory, const Desc& plain);

// Where a layer writes its result in layout wanted: the blob itself where it takes that, else slot, and
// Finish then writes the blob plain.
class Result {
 public:
  Result(SyncedMemory* memory, const Desc& plain, const Desc& wanted, Slot slot);
  const dnnl::memory& memory() const { return written_; }
  void* data() const { return written_.get_data_handle(); }
  // For those who read it: no number in it is larger.
  void set_bound(float bound) {
    if (layout_) layout_->set_bound(bound);
  }
  void Finish();

 private:
  dnnl::memory written_, plain_;
  Layout* layout_ = nullptr;
};

// 64 bits that differ, but for a chance of 2^-64 or so, where data does.
uint64_t Fingerprint(const float* data, size_t count);

// Whether elementwise work on so many numbers is worth a second thread.
inline bool Large(size_t count) { return count > 1 << 17; }

// y = max(x, 0) + slope * min(x, 0), as Caffe's; x and y, of one type, may be the same.
void Rectify(Type type, const void* x, void* y, size_t count, float slope);

}  // namespace onednn
}  // namespace caffe

// By what a CPU can do: "arch=skylake-avx512" would ask for that very make, and leave AMD's and every newer
// one of Intel's to SSE2.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CAFFE_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CAFFE_EVERY_CPU
#endif

// inlined into each CPU's copy of the function that calls it
#define CAFFE_INLINE inline __attribute__((always_inline))

#endif  // CAFFE_ONEDNN_ENGINE_HPP_
