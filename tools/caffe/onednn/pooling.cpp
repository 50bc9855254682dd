// Pooling in the blocked layout: Caffe's own loops with a block of channels in place of one. Our own code
// rather than oneDNN's primitive, for Caffe's sizes, its order of comparing and adding, and its mask, all to
// the bit.
#include <algorithm>
#include <cfloat>
#include <vector>

#include "caffe/layers/pooling_layer.hpp"
#include "onednn/engine.hpp"

namespace caffe {
namespace onednn {

// Which of a channel's inputs each output of the last max pooling came from (its index within the channel),
// blocked.
class PoolingMask {
 public:
  int* Reserve(size_t count) { return reinterpret_cast<int*>(buffer_.Reserve(count * sizeof(int))); }
  const int* data() const { return reinterpret_cast<const int*>(buffer_.data()); }
  bool holds = false;  // the last forward pass was blocked

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

// One plane of kBlock channels each: bottom height x width, top and mask pooled_height x pooled_width.
template <int kBlock>
CAFFE_INLINE void MaxPlane(const Window& w, const float* bottom, float* top, int* mask) {
  typedef typename Vectors<kBlock>::Float Float;
  typedef typename Vectors<kBlock>::Int Int;
  const Float* const in = reinterpret_cast<const Float*>(bottom);
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      Float most = Float{} - FLT_MAX;
      Int index = Int{} - 1;
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) {
          const int at = h * w.width + x;
          const Float value = in[at];
          const Int more = value > most;
          most = more ? value : most;
          index = more ? Int{} + at : index;
        }
      }
      reinterpret_cast<Float*>(top)[ph * w.pooled_width + pw] = most;
      reinterpret_cast<Int*>(mask)[ph * w.pooled_width + pw] = index;
    }
  }
}

template <int kBlock>
CAFFE_INLINE void AveragePlane(const Window& w, const float* bottom, float* top) {
  typedef typename Vectors<kBlock>::Float Float;
  const Float* const in = reinterpret_cast<const Float*>(bottom);
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      Float sum = Float{};
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) sum += in[h * w.width + x];
      }
      reinterpret_cast<Float*>(top)[ph * w.pooled_width + pw] =
          sum / static_cast<float>(rows.size * columns.size);
    }
  }
}

template <int kBlock>
CAFFE_INLINE void AverageBackPlane(const Window& w, const float* top_diff, float* bottom_diff) {
  typedef typename Vectors<kBlock>::Float Float;
  Float* const out = reinterpret_cast<Float*>(bottom_diff);
  std::fill_n(bottom_diff, static_cast<size_t>(w.height) * w.width * kBlock, 0.f);
  for (int ph = 0; ph < w.pooled_height; ++ph) {
    const Window::Range rows = w.Rows(ph);
    for (int pw = 0; pw < w.pooled_width; ++pw) {
      const Window::Range columns = w.Columns(pw);
      const Float share = reinterpret_cast<const Float*>(top_diff)[ph * w.pooled_width + pw] /
                          static_cast<float>(rows.size * columns.size);
      for (int h = rows.from; h < rows.to; ++h) {
        for (int x = columns.from; x < columns.to; ++x) out[h * w.width + x] += share;
      }
    }
  }
}

void MaxBackPlane(const Window& w, int block, const float* top_diff, const int* mask, float* bottom_diff) {
  std::fill_n(bottom_diff, static_cast<size_t>(w.height) * w.width * block, 0.f);
  for (int at = 0; at < w.pooled_height * w.pooled_width; ++at) {
    for (int channel = 0; channel < block; ++channel) {
      const int from = mask[at * block + channel];
      if (from >= 0) bottom_diff[from * block + channel] += top_diff[at * block + channel];
    }
  }
}

CAFFE_EVERY_CPU void Max16(const Window& w, const float* bottom, float* top, int* mask) {
  MaxPlane<16>(w, bottom, top, mask);
}
CAFFE_EVERY_CPU void Max8(const Window& w, const float* bottom, float* top, int* mask) {
  MaxPlane<8>(w, bottom, top, mask);
}
CAFFE_EVERY_CPU void Average16(const Window& w, const float* bottom, float* top) {
  AveragePlane<16>(w, bottom, top);
}
CAFFE_EVERY_CPU void Average8(const Window& w, const float* bottom, float* top) {
  AveragePlane<8>(w, bottom, top);
}
CAFFE_EVERY_CPU void AverageBack16(const Window& w, const float* top_diff, float* bottom_diff) {
  AverageBackPlane<16>(w, top_diff, bottom_diff);
}
CAFFE_EVERY_CPU void AverageBack8(const Window& w, const float* top_diff, float* bottom_diff) {
  AverageBackPlane<8>(w, top_diff, bottom_diff);
}

Desc Blocked(const Blob<float>& blob) {
  return Desc(Plain(blob).dims(), dnnl::memory::data_type::f32, BlockTag());
}

size_t Planes(const Desc& blocked) {
  const auto dims = blocked.dims();
  return blocked.get_size() / sizeof(float) / (BlockChannels() * dims[2] * dims[3]);
}

// A window without one input gives -FLT_MAX or 0/0, also in the channels that only fill up a block, where
// zeros belong.
bool EveryWindowHasInput(const Window& w) {
  return (w.pooled_height - 1) * w.stride_height - w.pad_height < w.height &&
         (w.pooled_width - 1) * w.stride_width - w.pad_width < w.width;
}

}  // namespace
}  // namespace onednn

// Only where the bottom holds the blocked layout already: a plain one would have to be read once more to be
// blocked.
template <>
bool PoolingLayer<float>::OnednnForward(const vector<Blob<float>*>& bottom, const vector<Blob<float>*>& top) {
  using namespace onednn;  // NOLINT(build/namespaces)
  const PoolingParameter& parameter = layer_param_.pooling_param();
  const bool max = parameter.pool() == PoolingParameter_PoolMethod_MAX;
  if (onednn_mask_) onednn_mask_->holds = false;
  if (parameter.engine() != PoolingParameter_Engine_DEFAULT || top.size() > 1 || bottom[0]->count() == 0 ||
      (!max && parameter.pool() != PoolingParameter_PoolMethod_AVE)) {
    return false;
  }
  const Window window = {height_,   width_,    pooled_height_, pooled_width_, kernel_h_,
                         kernel_w_, stride_h_, stride_w_,      pad_h_,        pad_w_};
  const Desc blocked = Blocked(*bottom[0]), pooled = Blocked(*top[0]);
  Layout* const layout = LayoutOf(*bottom[0]->data(), Plain(*bottom[0]));
  if (!layout || layout->desc() != blocked || !EveryWindowHasInput(window)) return false;
  const Threads threads(Large(bottom[0]->count()));
  const int block = BlockChannels();
  const size_t planes = Planes(blocked), plane = static_cast<size_t>(height_) * width_ * block;
  const size_t pooled_plane = static_cast<size_t>(pooled_height_) * pooled_width_ * block;
  Result result(top[0]->data().get(), Plain(*top[0]), pooled, kResult);
  if (!onednn_mask_) onednn_mask_.reset(new PoolingMask);
  onednn_mask_->holds = true;
  int* const mask = max ? onednn_mask_->Reserve(planes * pooled_plane) : nullptr;
#pragma omp parallel for
  for (size_t i = 0; i < planes; ++i) {
    const float* const from = layout->data() + i * plane;
    float* const to = result.data() + i * pooled_plane;
    if (max) {
      (block == 16 ? Max16 : Max8)(window, from, to, mask + i * pooled_plane);
    } else {
      (block == 16 ? Average16 : Average8)(window, from, to);
    }
  }
  result.Finish();
  return true;
}

template <>
bool PoolingLayer<float>::OnednnBackward(const vector<Blob<float>*>& top,
                                         const vector<bool>& /*propagate_down*/,
                                         const vector<Blob<float>*>& bottom) {
  using namespace onednn;  // NOLINT(build/namespaces)
  if (!onednn_mask_ || !onednn_mask_->holds) return false;
  const Threads threads(Large(bottom[0]->count()));
  const bool max = layer_param_.pooling_param().pool() == PoolingParameter_PoolMethod_MAX;
  const Window window = {height_,   width_,    pooled_height_, pooled_width_, kernel_h_,
                         kernel_w_, stride_h_, stride_w_,      pad_h_,        pad_w_};
  const Desc blocked = Blocked(*bottom[0]), pooled = Blocked(*top[0]);
  const int block = BlockChannels();
  const size_t planes = Planes(blocked), plane = static_cast<size_t>(height_) * width_ * block;
  const size_t pooled_plane = static_cast<size_t>(pooled_height_) * pooled_width_ * block;
  const dnnl::memory top_diff = Read(top[0]->diff().get(), Plain(*top[0]), pooled, kFirst);
  Result result(bottom[0]->diff().get(), Plain(*bottom[0]), blocked, kResult);
#pragma omp parallel for
  for (size_t i = 0; i < planes; ++i) {
    const float* const from = static_cast<const float*>(top_diff.get_data_handle()) + i * pooled_plane;
    float* const to = result.data() + i * plane;
    if (max) {
      MaxBackPlane(window, block, from, onednn_mask_->data() + i * pooled_plane, to);
    } else {
      (block == 16 ? AverageBack16 : AverageBack8)(window, from, to);
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
