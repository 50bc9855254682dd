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

// Which of a channel's inputs each output of the last max pooling came from (its index within the channel),
// lying as the output does.
class PoolingMask {
 public:
  int* Reserve(size_t count) { return static_cast<int*>(buffer_.Reserve(count * sizeof(int))); }
  const int* data() const { return static_cast<const int*>(buffer_.data()); }
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
};

// By memcpy, as a plain blob's memory, which channels that lie last may be in, is not aligned for vectors.
template <typename Float>
CAFFE_INLINE void Load(const float* from, Float* to) {
  memcpy(to, from, sizeof(Float));
}

template <typename Float>
CAFFE_INLINE void Store(const Float& value, float* to) {
  memcpy(to, &value, sizeof(Float));
}

typedef Vectors<16>::Float Floats;
typedef uint32_t Bits __attribute__((vector_size(16 * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(16 * sizeof(uint16_t))));

CAFFE_INLINE void Load(const Bf16* from, Floats* to) {
  Halves halves;
  memcpy(&halves, from, sizeof(halves));
  *to = reinterpret_cast<Floats>(__builtin_convertvector(halves, Bits) << 16);
}

CAFFE_INLINE void Store(const Floats& value, Bf16* to) {
  const Bits bits = reinterpret_cast<Bits>(value);  // as ToBf16 does it
  const Bits nearest = value == value ? (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 : Bits{} + 0x7FC0;
  const Halves halves = __builtin_convertvector(nearest, Halves);
  memcpy(to, &halves, sizeof(halves));
}

// How a layout lies, in numbers from one place to the next. A pixel is that of one block of channels.
struct Places {
  int images, blocks, pixels;
  size_t image, block, pixel;
  size_t At(int i, int b) const { return i * image + b * block; }
  bool ChannelsLast() const { return block < pixel; }
};

// The largest number so far, and where it was: Caffe's comparison, so that the first of equals stays.
template <int kBlock>
struct Largest {
  typename Vectors<kBlock>::Float value;
  typename Vectors<kBlock>::Int at;

  template <typename Number>
  CAFFE_INLINE void Look(const Number* bottom, size_t pixel, int index) {
    typename Vectors<kBlock>::Float candidate;
    Load(bottom + index * pixel, &candidate);
    const typename Vectors<kBlock>::Int more = candidate > value;
    value = more ? candidate : value;
    at = more ? typename Vectors<kBlock>::Int{} + index : at;
  }
};

// One output's block of channels: bottom is the block's first pixel, top and mask the output's.
template <int kBlock, typename Number>
CAFFE_INLINE void MaxOf(const Window& w, const Window::Range& rows, const Window::Range& columns,
                        size_t pixel, const Number* bottom, Number* top, int* mask) {
  Largest<kBlock> most = {typename Vectors<kBlock>::Float{} - FLT_MAX, typename Vectors<kBlock>::Int{} - 1};
  for (int h = rows.from; h < rows.to; ++h) {
    for (int x = columns.from; x < columns.to; ++x) most.Look(bottom, pixel, h * w.width + x);
  }
  Store(most.value, top);
  memcpy(mask, &most.at, sizeof(most.at));
}

template <int kBlock, typename Number>
CAFFE_INLINE void AverageOf(const Window& w, const Window::Range& rows, const Window::Range& columns,
                            size_t pixel, const Number* bottom, Number* top) {
  typedef typename Vectors<kBlock>::Float Float;
  Float sum = Float{};
  for (int h = rows.from; h < rows.to; ++h) {
    for (int x = columns.from; x < columns.to; ++x) {
      Float value;
      Load(bottom + (h * w.width + x) * pixel, &value);
      sum += value;
    }
  }
  const Float average = sum / static_cast<float>(rows.size * columns.size);
  Store(average, top);
}

// One block of channels each.
template <int kBlock>
CAFFE_INLINE void AverageBack(const Window& w, size_t pixel, const float* top_diff, float* bottom_diff) {
  typedef typename Vectors<kBlock>::Float Float;
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      Float share;
      Load(top_diff + (ph * w.pooled_width + pw) * pixel, &share);
      share /= static_cast<float>(rows.size * columns.size);
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) {
          Float sum;
          float* const at = bottom_diff + (h * w.width + x) * pixel;
          Load(at, &sum);
          Store(Float(sum + share), at);
        }
      }
    }
  }
}

void MaxBack(const Window& w, int channels, size_t pixel, const float* top_diff, const int* mask,
             float* bottom_diff) {
  for (int at = 0; at < w.pooled_height * w.pooled_width; ++at) {
    for (int channel = 0; channel < channels; ++channel) {
      const int from = mask[at * pixel + channel];
      if (from >= 0) bottom_diff[from * pixel + channel] += top_diff[at * pixel + channel];
    }
  }
}

// All blocks of one row of one image, in the order in which they lie: channels that lie last are read a third
// faster than block by block.
template <int kBlock, typename Number>
CAFFE_INLINE void Row(const Window& w, int image, int row, const Places& in, const Places& out,
                      const void* bottom, void* top, int* mask) {
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
                           const void* bottom, void* top, int* mask) {
  Row<16, float>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void Row8(const Window& w, int image, int row, const Places& in, const Places& out,
                          const void* bottom, void* top, int* mask) {
  Row<8, float>(w, image, row, in, out, bottom, top, mask);
}
CAFFE_EVERY_CPU void RowBf16(const Window& w, int image, int row, const Places& in, const Places& out,
                             const void* bottom, void* top, int* mask) {
  Row<16, Bf16>(w, image, row, in, out, bottom, top, mask);
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

Places PlacesOf(const Blob<float>& blob, Type layout) {
  const int block = BlockChannels(), blocks = (blob.channels() + block - 1) / block;
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
  const Type type = layout->desc().data_type();
  if (layout->desc() != Blocked(*bottom[0], type, type)) return false;
  if (type == Type::bf16 && bottom[0]->channels() % BlockChannels() != 0) return false;
  const Threads threads(Large(bottom[0]->count()));
  Result result(top[0]->data().get(), Plain(*top[0]), Blocked(*top[0], type, type), kResult);
  if (!onednn_mask_) onednn_mask_.reset(new PoolingMask);
  onednn_mask_->layout = type;
  const Places in = PlacesOf(*bottom[0], type), out = PlacesOf(*top[0], type);
  int* const mask = max ? onednn_mask_->Reserve(out.images * out.image) : nullptr;
  const auto row = type == Type::bf16 ? RowBf16 : BlockChannels() == 16 ? Row16 : Row8;
#pragma omp parallel for
  for (int i = 0; i < out.images * pooled_height_; ++i) {
    row(window, i / pooled_height_, i % pooled_height_, in, out, layout->data(), result.data(), mask);
  }
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
