// Pooling in the layouts of oneDNN's convolutions: Caffe's own loops with a block of channels in place of
// one. Our own code rather than oneDNN's primitive, for Caffe's sizes, its order of comparing and adding, and
// its mask, all to the bit.
#include <algorithm>
#include <cfloat>
#include <cstring>
#include <vector>

#include "caffe/layers/pooling_layer.hpp"
#include "onednn/bf16.hpp"
#include "onednn/engine.hpp"

namespace caffe {
namespace onednn {

// Which of its window's inputs each output of the last max pooling came from, counted row by row from the
// first that is no padding, or kNone; lying as the output does.
class PoolingMask {
 public:
  typedef uint16_t Number;
  static constexpr Number kNone = 0xFFFF;
  Number* Reserve(size_t count) { return static_cast<Number*>(buffer_.Reserve(count * sizeof(Number))); }
  const Number* data() const { return static_cast<const Number*>(buffer_.data()); }
  // of the convolutions whose layout the last forward pass was in; undef: it was not this engine's
  Type layout = Type::undef;

 private:
  Buffer buffer_;
};

namespace {

struct Window {
  int height, width, pooled_height, pooled_width;
  int kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;

  struct Range {
    int from, to, size;  // size counts the padding, as Caffe's average does
  };
  CAFFE_INLINE static Range Along(int at, int kernel, int stride, int pad, int length) {
    const int from = at * stride - pad, to = std::min(from + kernel, length + pad);
    return {std::max(from, 0), std::min(to, length), to - from};
  }
  CAFFE_INLINE Range Rows(int at) const {
    return Along(at, kernel_height, stride_height, pad_height, height);
  }
  CAFFE_INLINE Range Columns(int at) const { return Along(at, kernel_width, stride_width, pad_width, width); }
};

template <int kBlock>
struct Vectors {
  typedef float Float __attribute__((vector_size(kBlock * sizeof(float))));
  typedef int Int __attribute__((vector_size(kBlock * sizeof(int))));
  typedef uint32_t Bits __attribute__((vector_size(kBlock * sizeof(uint32_t))));
  typedef PoolingMask::Number Mask __attribute__((vector_size(kBlock * sizeof(PoolingMask::Number))));
};

// A block of channels as vectors of floats, and how it lies in memory. By memcpy, as a plain blob's memory,
// which channels that lie last may be in, is not aligned for vectors.
template <int kBlock, typename Number>
struct Lanes;

template <int kBlock>
struct Lanes<kBlock, float> {
  typedef Vectors<kBlock> V;
  static constexpr int kParts = 1;

  CAFFE_INLINE static void Load(const float* from, typename V::Float (&parts)[kParts]) {
    memcpy(parts, from, sizeof(parts));
  }
  CAFFE_INLINE static void Store(const typename V::Float (&parts)[kParts], float* to) {
    memcpy(to, parts, sizeof(parts));
  }
  CAFFE_INLINE static void StoreInput(const typename V::Float (&parts)[kParts], float* to) {
    Store(parts, to);
  }
  CAFFE_INLINE static void StoreMask(const typename V::Int (&parts)[kParts], PoolingMask::Number* to) {
    const typename V::Mask mask = __builtin_convertvector(parts[0], typename V::Mask);
    memcpy(to, &mask, sizeof(mask));
  }
};

// Two neighbours of 16 bits lie where a float's 32 do: the even channels are one part, the odd ones another.
template <int kBlock>
struct Lanes<kBlock, Bf16> {
  typedef Vectors<kBlock / 2> V;
  static constexpr int kParts = 2;
  static constexpr uint32_t kUpper = 0xFFFF0000;

  CAFFE_INLINE static void Load(const Bf16* from, typename V::Float (&parts)[kParts]) {
    typename V::Bits both;
    memcpy(&both, from, sizeof(both));
    parts[0] = reinterpret_cast<typename V::Float>(both << 16);
    parts[1] = reinterpret_cast<typename V::Float>(both & kUpper);
  }
  CAFFE_INLINE static void Store(const typename V::Float (&parts)[kParts], Bf16* to) {
    typename V::Float rounded[kParts];
    for (int part = 0; part < kParts; ++part) Round(parts[part], &rounded[part]);
    StoreInput(rounded, to);
  }
  // What came from Load needs no rounding; nor does Caffe's -FLT_MAX, where there was no number in the
  // window.
  CAFFE_INLINE static void StoreInput(const typename V::Float (&parts)[kParts], Bf16* to) {
    const typename V::Bits both = reinterpret_cast<typename V::Bits>(parts[0]) >> 16 |
                                  (reinterpret_cast<typename V::Bits>(parts[1]) & kUpper);
    memcpy(to, &both, sizeof(both));
  }
  CAFFE_INLINE static void StoreMask(const typename V::Int (&parts)[kParts], PoolingMask::Number* to) {
    const typename V::Int both = parts[0] | parts[1] << 16;
    memcpy(to, &both, sizeof(both));
  }

 private:
  CAFFE_INLINE static void Round(const typename V::Float& value,
                                 typename V::Float* to) {  // as ToBf16 does it
    const typename V::Bits bits = reinterpret_cast<typename V::Bits>(value);
    const typename V::Bits nearest =
        value == value ? bits + 0x7FFF + (bits >> 16 & 1) : typename V::Bits{} + 0x7FC00000;
    *to = reinterpret_cast<typename V::Float>(nearest);
  }
};

// How a layout lies, in numbers from one place to the next. A pixel is that of one block of channels.
struct Places {
  int images, blocks, pixels;
  size_t image, block, pixel;
  size_t At(int i, int b) const { return i * image + b * block; }
  bool ChannelsLast() const { return block < pixel; }
};

// One output's block of channels: bottom is the block's first pixel, top and mask the output's. Caffe's
// comparison, so that the first of equals stays.
template <int kBlock, typename Number>
CAFFE_INLINE void MaxOf(const Window& w, const Window::Range& rows, const Window::Range& columns,
                        size_t pixel, const Number* bottom, Number* top, PoolingMask::Number* mask) {
  typedef Lanes<kBlock, Number> L;
  typedef typename L::V::Int Int;
  typename L::V::Float most[L::kParts];
  Int at[L::kParts];
  for (int part = 0; part < L::kParts; ++part) {
    most[part] = typename L::V::Float{} - FLT_MAX;
    at[part] = Int{} + PoolingMask::kNone;
  }
  int number = 0;
  for (int h = rows.from; h < rows.to; ++h) {
    const Number* input = bottom + (h * w.width + columns.from) * pixel;
    for (int x = columns.from; x < columns.to; ++x, ++number, input += pixel) {
      typename L::V::Float candidates[L::kParts];
      L::Load(input, candidates);
      for (int part = 0; part < L::kParts; ++part) {
        const Int more = candidates[part] > most[part];
        most[part] = more ? candidates[part] : most[part];
        at[part] = more ? Int{} + number : at[part];
      }
    }
  }
  L::StoreInput(most, top);
  L::StoreMask(at, mask);
}

template <int kBlock, typename Number>
CAFFE_INLINE void AverageOf(const Window& w, const Window::Range& rows, const Window::Range& columns,
                            size_t pixel, const Number* bottom, Number* top) {
  typedef Lanes<kBlock, Number> L;
  typename L::V::Float sums[L::kParts] = {};
  for (int h = rows.from; h < rows.to; ++h) {
    const Number* input = bottom + (h * w.width + columns.from) * pixel;
    for (int x = columns.from; x < columns.to; ++x, input += pixel) {
      typename L::V::Float values[L::kParts];
      L::Load(input, values);
      for (int part = 0; part < L::kParts; ++part) sums[part] += values[part];
    }
  }
  for (int part = 0; part < L::kParts; ++part) sums[part] /= static_cast<float>(rows.size * columns.size);
  L::Store(sums, top);
}

// One block of channels each.
template <int kBlock>
CAFFE_INLINE void AverageBack(const Window& w, size_t pixel, const float* top_diff, float* bottom_diff) {
  typedef typename Vectors<kBlock>::Float Float;
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      Float share, sum;
      memcpy(&share, top_diff + (ph * w.pooled_width + pw) * pixel, sizeof(share));
      share /= static_cast<float>(rows.size * columns.size);
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) {
          float* const at = bottom_diff + (h * w.width + x) * pixel;
          memcpy(&sum, at, sizeof(sum));
          sum += share;
          memcpy(at, &sum, sizeof(sum));
        }
      }
    }
  }
}

void MaxBack(const Window& w, int channels, size_t pixel, const float* top_diff,
             const PoolingMask::Number* mask, float* bottom_diff) {
  std::vector<size_t> inputs(w.kernel_height * w.kernel_width);  // where a window's lie, as they are counted
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      int number = 0;
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) inputs[number++] = (h * w.width + x) * pixel;
      }
      const size_t at = (ph * w.pooled_width + pw) * pixel;
      for (int channel = 0; channel < channels; ++channel) {
        const int from = mask[at + channel];
        if (from != PoolingMask::kNone) bottom_diff[inputs[from] + channel] += top_diff[at + channel];
      }
    }
  }
}

// All blocks of one row of one image, in the order in which they lie: channels that lie last are read a third
// faster than block by block.
template <int kBlock, typename Number>
CAFFE_INLINE void Row(const Window& w, int image, int row, const Places& in, const Places& out,
                      const void* bottom, void* top, PoolingMask::Number* mask) {
  const Window::Range rows = w.Rows(row);
  const int outer = out.ChannelsLast() ? 1 : out.blocks, inner = out.blocks / outer;
  for (int first = 0; first < outer; ++first) {
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      for (int block = first; block < first + inner; ++block) {
        const size_t to = out.At(image, block) + (static_cast<size_t>(row) * w.pooled_width + pw) * out.pixel;
        const Number* const from = static_cast<const Number*>(bottom) + in.At(image, block);
        if (mask) {
          MaxOf<kBlock>(w, rows, columns, in.pixel, from, static_cast<Number*>(top) + to, mask + to);
        } else {
          AverageOf<kBlock>(w, rows, columns, in.pixel, from, static_cast<Number*>(top) + to);
        }
      }
    }
  }
}

CAFFE_EVERY_CPU void Row16(const Window& w, int image, int row, const Places& in, const Places& out,
                           const void* bottom, void* top, PoolingMask::Number* mask) {
  Row<16, float>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void Row8(const Window& w, int image, int row, const Places& in, const Places& out,
                          const void* bottom, void* top, PoolingMask::Number* mask) {
  Row<8, float>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void RowBf16By16(const Window& w, int image, int row, const Places& in, const Places& out,
                                 const void* bottom, void* top, PoolingMask::Number* mask) {
  Row<16, Bf16>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void RowBf16By32(const Window& w, int image, int row, const Places& in, const Places& out,
                                 const void* bottom, void* top, PoolingMask::Number* mask) {
  Row<32, Bf16>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void AverageBack16(const Window& w, size_t pixel, const float* top_diff, float* bottom_diff) {
  AverageBack<16>(w, pixel, top_diff, bottom_diff);
}
CAFFE_EVERY_CPU void AverageBack8(const Window& w, size_t pixel, const float* top_diff, float* bottom_diff) {
  AverageBack<8>(w, pixel, top_diff, bottom_diff);
}

// The layout of convolutions of `layout`, for numbers of `type`.
Desc Blocked(const Blob<float>& blob, Type layout, Type type) {
  return Desc(Plain(blob).dims(), type, BlockTag(layout));
}

Places PlacesOf(const Blob<float>& blob, Type layout, int block = BlockChannels()) {
  const int blocks = (blob.channels() + block - 1) / block;
  Places places = {blob.num(), blocks, blob.height() * blob.width(), 0, 0, 0};
  const bool last = layout == Type::bf16;
  places.image = static_cast<size_t>(places.pixels) * blocks * block;
  places.block = last ? block : static_cast<size_t>(places.pixels) * block;
  places.pixel = last ? blocks * block : block;
  return places;
}

// A window without one input gives -FLT_MAX or 0/0, also in the channels that only fill up a block, where
// zeros belong.
bool EveryWindowHasInput(const Window& w) {
  return (w.pooled_height - 1) * w.stride_height - w.pad_height < w.height &&
         (w.pooled_width - 1) * w.stride_width - w.pad_width < w.width;
}

}  // namespace
}  // namespace onednn

// Only where the bottom holds a convolution's layout already: a plain one would have to be read once more to
// be blocked.
template <>
bool PoolingLayer<float>::OnednnForward(const vector<Blob<float>*>& bottom, const vector<Blob<float>*>& top) {
  using namespace onednn;  // NOLINT(build/namespaces)
  const PoolingParameter& parameter = layer_param_.pooling_param();
  const bool max = parameter.pool() == PoolingParameter_PoolMethod_MAX;
  if (onednn_mask_) onednn_mask_->layout = Type::undef;
  if (parameter.engine() != PoolingParameter_Engine_DEFAULT || top.size() > 1 || bottom[0]->count() == 0 ||
      (!max && parameter.pool() != PoolingParameter_PoolMethod_AVE)) {
    return false;
  }
  const Window window = {height_,   width_,    pooled_height_, pooled_width_, kernel_h_,
                         kernel_w_, stride_h_, stride_w_,      pad_h_,        pad_w_};
  Layout* const layout = LayoutOf(*bottom[0]->data(), Plain(*bottom[0]));
  if (!layout || !EveryWindowHasInput(window)) return false;
  if (max && kernel_h_ * kernel_w_ >= PoolingMask::kNone) return false;
  const Type type = layout->desc().data_type();
  if (layout->desc() != Blocked(*bottom[0], type, type)) return false;
  if (type == Type::bf16 && bottom[0]->channels() % BlockChannels() != 0) return false;
  const Threads threads(Large(bottom[0]->count()));
  Result result(top[0]->data().get(), Plain(*top[0]), Blocked(*top[0], type, type), kResult);
  if (!onednn_mask_) onednn_mask_.reset(new PoolingMask);
  onednn_mask_->layout = type;
  const int block = type == Type::bf16 && bottom[0]->channels() % 32 == 0 ? 32 : BlockChannels();
  const Places in = PlacesOf(*bottom[0], type, block), out = PlacesOf(*top[0], type, block);
  PoolingMask::Number* const mask = max ? onednn_mask_->Reserve(out.images * out.image) : nullptr;
  const auto row = type != Type::bf16 ? block == 16 ? Row16 : Row8 : block == 32 ? RowBf16By32 : RowBf16By16;
#pragma omp parallel for
  for (int i = 0; i < out.images * pooled_height_; ++i) {
    row(window, i / pooled_height_, i % pooled_height_, in, out, layout->data(), result.data(), mask);
  }
  result.set_bound(layout->bound());
  result.Finish();
  return true;
}

template <>
bool PoolingLayer<float>::OnednnBackward(const vector<Blob<float>*>& top,
                                         const vector<bool>& /*propagate_down*/,
                                         const vector<Blob<float>*>& bottom) {
  using namespace onednn;  // NOLINT(build/namespaces)
  if (!onednn_mask_ || onednn_mask_->layout == Type::undef) return false;
  const Threads threads(Large(bottom[0]->count()));
  const bool max = layer_param_.pooling_param().pool() == PoolingParameter_PoolMethod_MAX;
  const Window window = {height_,   width_,    pooled_height_, pooled_width_, kernel_h_,
                         kernel_w_, stride_h_, stride_w_,      pad_h_,        pad_w_};
  const Type from = onednn_mask_->layout;
  const Desc blocked = Blocked(*bottom[0], from, Type::f32), pooled = Blocked(*top[0], from, Type::f32);
  const Places in = PlacesOf(*bottom[0], from), out = PlacesOf(*top[0], from);
  const dnnl::memory top_diff = Read(top[0]->diff().get(), Plain(*top[0]), pooled, kFirst);
  Result result(bottom[0]->diff().get(), Plain(*bottom[0]), blocked, kResult);
  const int channels = BlockChannels();
#pragma omp parallel for
  for (int i = 0; i < in.images * in.blocks; ++i) {
    const size_t of = out.At(i / in.blocks, i % in.blocks);
    const float* const given = static_cast<const float*>(top_diff.get_data_handle()) + of;
    float* const to = static_cast<float*>(result.data()) + in.At(i / in.blocks, i % in.blocks);
    for (int at = 0; at < in.pixels; ++at) std::fill_n(to + at * in.pixel, channels, 0.f);
    if (max) {
      MaxBack(window, channels, in.pixel, given, onednn_mask_->data() + of, to);
    } else {
      (channels == 16 ? AverageBack16 : AverageBack8)(window, in.pixel, given, to);
    }
  }
  result.Finish();
  return true;
}

template <>
bool PoolingLayer<double>::OnednnForward(const vector<Blob<double>*>&, const vector<Blob<double>*>&) {
  return false;
}
template <>
bool PoolingLayer<double>::OnednnBackward(const vector<Blob<double>*>&, const vector<bool>&,
                                          const vector<Blob<double>*>&) {
  return false;
}

}  // namespace caffe
