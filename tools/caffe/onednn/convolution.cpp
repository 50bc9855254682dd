#include "onednn/convolution.hpp"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "caffe/layers/conv_layer.hpp"

namespace caffe {
namespace onednn {
namespace {

using dnnl::algorithm;
using dnnl::prop_kind;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

constexpr size_t kWinogradBytes = 60000000;
// Input, sums of weights and result up to here overflow nowhere, also not on the way in Winograd's
// transforms.
constexpr float kNoOverflow = 1e30f;

Desc Layouts(const Dims& dims, Tag tag, Type type = Type::f32) { return Desc(dims, type, tag); }

// A blocked layout of floats for so many images in place of its own.
Desc Images(const Desc& desc, int images) {
  Dims dims = desc.dims();
  if (dims[0] == images) return desc;
  dims[0] = images;
  return Layouts(dims, BlockTag(Type::f32));
}

// Winograd's 4x3 computes a 3x3 convolution with a quarter of the multiplications. oneDNN has it for AVX-512;
// its own choice ("auto") is always direct. Slower only where a block of channels is mostly padding.
bool WinogradPays(const Geometry& g) {
  return BlockChannels() == 16 && g.group == 1 && g.kernel_height == 3 && g.kernel_width == 3 &&
         g.stride_height == 1 && g.stride_width == 1 && g.dilation_height == 1 && g.dilation_width == 1 &&
         g.in_channels >= 32 && g.out_channels >= 32;
}

// Whether FP32 is faster than bf16, which with AMX it never is. AVX-512's bf16 multiplies twice as much a
// cycle as FP32: less than Winograd saves, unless its tiles of 4 x 4 jut out far; and where a sum has few
// terms, less than it takes to convert the result for a Winograd that follows (bench/caffe_cpu.py).
bool Fp32BeatsBf16(const Geometry& g) {
  const auto tiled = [](int size) { return (size + 3) / 4 * 4; };
  const bool few_terms = g.in_channels / g.group * g.kernel_height * g.kernel_width <= 64;
  const bool fills_tiles = tiled(g.out_height) * tiled(g.out_width) <= 1.2 * g.out_height * g.out_width;
  return !HasAmx() && (few_terms || (WinogradPays(g) && fills_tiles));
}

// In training the weights are transformed anew each time: as long as 6400 positions gain
// (bench/caffe_cpu.py).
bool TransformPays(const Geometry& g) { return g.images * g.out_height * g.out_width >= 6400; }

}  // namespace

Desc Convolution::PlainWeights() const {
  const Geometry& g = geometry_;
  if (g.group == 1) return Plain(Dims{g.out_channels, g.in_channels, g.kernel_height, g.kernel_width});
  return Plain(
      Dims{g.group, g.out_channels / g.group, g.in_channels / g.group, g.kernel_height, g.kernel_width});
}

std::unique_ptr<Convolution::Step> Convolution::Try(Kind kind, Type type, bool relu, algorithm algorithm,
                                                    bool blocked, int images) const {
  const Geometry& g = geometry_;
  // a few channels, as of a picture, are read as they are: the library knows the best layout for them
  const Tag in_tag = blocked && g.in_channels >= 8 ? BlockTag(type) : Tag::any;
  const Tag out_tag = blocked ? BlockTag(type) : Tag::any;
  const Desc bottom = Layouts({images, g.in_channels, g.in_height, g.in_width}, in_tag, type);
  const Desc top = Layouts({images, g.out_channels, g.out_height, g.out_width}, out_tag, type);
  const Desc weights = Layouts(PlainWeights().dims(), Tag::any, type);
  const Desc bias = g.bias ? Layouts({g.out_channels}, Tag::x) : Desc();
  const Dims strides = {g.stride_height, g.stride_width}, pads = {g.pad_height, g.pad_width};
  const Dims dilations = {g.dilation_height - 1, g.dilation_width - 1};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  std::unique_ptr<Step> step(new Step);
  step->images = images;
  // im2col and a matrix product, or plain loops: Caffe's own is no worse
  const auto ordinary = [](const std::string& name) {
    return name.find("gemm") != std::string::npos || name.find("ref") != std::string::npos;
  };
  try {
    dnnl::primitive_attr with_relu = attributes;
    if (relu && kind == kForward) {
      dnnl::post_ops post;
      post.append_eltwise(1.f, algorithm::eltwise_relu, slope_, 0.f);
      with_relu.set_post_ops(post);
      step->rectifies = true;
    }
    const prop_kind use = kind == kForward ? prop_kind::forward_inference : prop_kind::forward_training;
    const dnnl::convolution_forward::primitive_desc forward(
        {use, kind == kForward ? algorithm : algorithm::convolution_direct, bottom, weights, bias, top,
         strides, dilations, pads, pads},
        with_relu, Cpu());
    if (kind == kForward) {
      if (ordinary(forward.impl_info_str())) return nullptr;
      step->primitive = dnnl::convolution_forward(forward);
      step->bottom = forward.src_desc();
      step->top = forward.dst_desc();
      step->weights = forward.weights_desc();
      step->scratchpad = forward.scratchpad_desc();
    } else if (kind == kBackwardWeights) {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          {algorithm, bottom, weights, bias, top, strides, dilations, pads, pads}, attributes, Cpu(),
          forward);
      if (ordinary(backward.impl_info_str())) return nullptr;
      step->primitive = dnnl::convolution_backward_weights(backward);
      step->bottom = backward.src_desc();
      step->top = backward.diff_dst_desc();
      step->weights = backward.diff_weights_desc();
      step->scratchpad = backward.scratchpad_desc();
    } else {
      const dnnl::convolution_backward_data::primitive_desc backward(
          {algorithm, bottom, weights, top, strides, dilations, pads, pads}, attributes, Cpu(), forward);
      if (ordinary(backward.impl_info_str())) return nullptr;
      step->primitive = dnnl::convolution_backward_data(backward);
      step->bottom = backward.diff_src_desc();
      step->top = backward.diff_dst_desc();
      step->weights = backward.weights_desc();
      step->scratchpad = backward.scratchpad_desc();
    }
  } catch (const dnnl::error&) {
    return nullptr;  // this implementation does not take this geometry
  }
  return step;
}

// Forward, so many images at a time that the transformed ones fit kWinogradBytes: more take more memory than
// im2col would, and no less time. A small image alone may have Winograd's 2x3: as fast where there are many
// channels, with half the memory for weights that are kept.
std::unique_ptr<Convolution::Step> Convolution::TryWinograd(Kind kind, bool relu) const {
  const auto of = [&](int images) {
    return Try(kind, Type::f32, relu, algorithm::convolution_winograd, true, images);
  };
  if (kind != kForward) return of(geometry_.images);
  std::unique_ptr<Step> step = of(geometry_.images);
  if (step && !training_ && 2 * step->weights.get_size() > kWinogradBytes) {
    std::unique_ptr<Step> alone = of(1);
    if (alone && alone->weights.get_size() < step->weights.get_size()) return alone;
  }
  for (int images = geometry_.images;
       step && images % 2 == 0 && step->scratchpad.get_size() > kWinogradBytes;) {
    images /= 2;
    step = of(images);
  }
  return step;
}

std::unique_ptr<Convolution::Step> Convolution::TryDirect(Kind kind, Type type, bool relu) const {
  std::unique_ptr<Step> step;
  for (const bool blocked : {true, false}) {
    if (!step) step = Try(kind, type, relu, algorithm::convolution_direct, blocked, geometry_.images);
  }
  return step;
}

std::unique_ptr<Convolution::Step> Convolution::Make(Kind kind, bool relu) const {
  std::unique_ptr<Step> step;
  if (kind == kForward && type_ != Type::f32 && !Fp32BeatsBf16(geometry_)) {
    step = TryDirect(kind, type_, relu);
  }
  const bool transforms = training_ && kind == kForward;  // the backward passes' weights stay as they are
  if (!step && WinogradPays(geometry_) && (!transforms || TransformPays(geometry_))) {
    step = TryWinograd(kind, relu);
  }
  if (!step) step = TryDirect(kind, Type::f32, relu);
  if (!step && relu) step = Make(kind, false);
  return step;
}

const Convolution::Step* Convolution::Get(std::unique_ptr<Step>* step, Kind kind, bool relu) {
  if (!*step) *step = Make(kind, relu);
  return step->get();
}

bool Convolution::Large() const {
  const Geometry& g = geometry_;
  const double sums = 1. * g.images * g.out_channels * g.out_height * g.out_width;
  return sums * (g.in_channels / g.group) * g.kernel_height * g.kernel_width > 4e6;
}

void Convolution::Take(const Geometry& geometry) {
  const bool same = std::memcmp(&geometry, &geometry_, sizeof(Geometry)) == 0;
  geometry_ = geometry;
  const Threads threads(Large());
  if (same && threads.count() == threads_) return;
  threads_ = threads.count();
  forward_.reset();
  forward_relu_.reset();
  backward_weights_.reset();
  backward_data_.reset();
}

bool Convolution::PrepareForward(const Geometry& geometry) {
  Take(geometry);
  const Threads threads(Large());
  return Get(&forward_, kForward, false);
}

bool Convolution::PrepareBackward(const Geometry& geometry, bool weights, bool data) {
  Take(geometry);
  const Threads threads(Large());
  return (!weights || Get(&backward_weights_, kBackwardWeights, false)) &&
         (!data || Get(&backward_data_, kBackwardData, false));
}

bool Convolution::TakeReLU(float* negative_slope) {
  const bool relu = relu_;
  *negative_slope = slope_;
  relu_ = false;
  return relu;
}

void Convolution::Forward(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom,
                          Blob<float>* top) {
  const Threads threads(Large());
  float slope;
  const bool relu = TakeReLU(&slope);
  if (relu && slope != step_slope_) forward_relu_.reset();
  if (relu) step_slope_ = slope;
  // oneDNN's ReLU makes 0 of what is no number: a training that has diverged would show the loss of a guess
  const float bound = relu && slope == 0 ? BoundOfTop(weights, bias, bottom) : HUGE_VALF;
  const bool together = relu && (slope != 0 || bound < kNoOverflow);
  const Step* step = together ? Get(&forward_relu_, kForward, true) : Get(&forward_, kForward, false);
  const Desc whole_bottom = Images(step->bottom, geometry_.images),
             whole_top = Images(step->top, geometry_.images);
  const dnnl::memory source = Read(bottom->data().get(), Plain(*bottom), whole_bottom, kFirst);
  Result result(top->data().get(), Plain(*top), whole_top, kResult);
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_WEIGHTS, training_ ? Weights::Once(step->weights, PlainWeights(), weights.cpu_data())
                                   : weights_.In(step->weights, PlainWeights(), weights.data().get())},
      {DNNL_ARG_SCRATCHPAD, step->Scratchpad()}};
  if (bias) arguments[DNNL_ARG_BIAS] = At(Plain(*bias), bias->cpu_data());
  const char* in = static_cast<const char*>(source.get_data_handle());
  char* out = static_cast<char*>(result.data());
  for (int done = 0; done < geometry_.images; done += step->images) {
    arguments[DNNL_ARG_SRC] = At(step->bottom, in);
    arguments[DNNL_ARG_DST] = At(step->top, out);
    Run(step->primitive, arguments);
    in += step->bottom.get_size();
    out += step->top.get_size();
  }
  if (relu && !step->rectifies) {
    Rectify(whole_top.data_type(), result.data(), result.data(), Count(whole_top), slope);
  }
  if (together) result.set_bound(bound);
  result.Finish();
}

float Convolution::BoundOfTop(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom) {
  const size_t rows = geometry_.out_channels, count = weights.count();
  const float sum = training_ ? Weights::LargestSumOnce(rows, count, weights.cpu_data())
                              : weights_.LargestSum(rows, count, weights.data().get());
  const float in = BoundOf(bottom->data().get(), Plain(*bottom));
  if (!(in < kNoOverflow && sum < kNoOverflow)) return HUGE_VALF;
  return in * sum + (bias ? Largest(Type::f32, bias->cpu_data(), bias->count()) : 0);
}

void Convolution::BackwardWeights(Blob<float>* bottom, Blob<float>* top, float* weights_diff,
                                  float* bias_diff) {
  const Threads threads(Large());
  const Step* step = Get(&backward_weights_, kBackwardWeights, false);
  const dnnl::memory diff = At(step->weights, Scratch(kWeights, step->weights.get_size()));
  float* const bias = static_cast<float*>(Scratch(kBias, geometry_.out_channels * sizeof(float)));
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, Read(bottom->data().get(), Plain(*bottom), step->bottom, kFirst)},
      {DNNL_ARG_DIFF_DST, Read(top->diff().get(), Plain(*top), step->top, kSecond)},
      {DNNL_ARG_DIFF_WEIGHTS, diff},
      {DNNL_ARG_SCRATCHPAD, step->Scratchpad()}};
  if (geometry_.bias) arguments[DNNL_ARG_DIFF_BIAS] = At(Plain(Dims{geometry_.out_channels}), bias);
  Run(step->primitive, arguments);
  if (weights_diff) Reorder(diff, At(PlainWeights(), weights_diff), true);
  for (int i = 0; bias_diff && i < geometry_.out_channels; ++i) bias_diff[i] += bias[i];
}

void Convolution::BackwardData(const Blob<float>& weights, Blob<float>* bottom, Blob<float>* top) {
  const Threads threads(Large());
  const Step* step = Get(&backward_data_, kBackwardData, false);
  const dnnl::memory diff = Read(top->diff().get(), Plain(*top), step->top, kSecond);
  Result result(bottom->diff().get(), Plain(*bottom), step->bottom, kResult);
  Run(step->primitive, {{DNNL_ARG_DIFF_DST, diff},
                        {DNNL_ARG_WEIGHTS, Weights::Once(step->weights, PlainWeights(), weights.cpu_data())},
                        {DNNL_ARG_DIFF_SRC, result.memory()},
                        {DNNL_ARG_SCRATCHPAD, step->Scratchpad()}});
  result.Finish();
}

}  // namespace onednn

namespace {

bool Possible(const LayerParameter& layer, const Blob<float>& bottom, const Blob<float>& top) {
  const ConvolutionParameter& convolution = layer.convolution_param();
  return convolution.engine() == ConvolutionParameter_Engine_DEFAULT && onednn::Wanted() &&
         bottom.num_axes() == 4 && bottom.CanonicalAxisIndex(convolution.axis()) == 1 &&
         !convolution.force_nd_im2col() && bottom.count() > 0 && top.count() > 0;
}

}  // namespace

template <>
onednn::Geometry ConvolutionLayer<float>::OnednnGeometry(const Blob<float>& bottom, const Blob<float>& top) {
  const auto at = [](const Blob<int>& sizes, int axis) { return sizes.cpu_data()[axis]; };
  return {bottom.shape(0), bottom.shape(1), bottom.shape(2),      bottom.shape(3),      top.shape(1),
          top.shape(2),    top.shape(3),    at(kernel_shape_, 0), at(kernel_shape_, 1), at(stride_, 0),
          at(stride_, 1),  at(pad_, 0),     at(pad_, 1),          at(dilation_, 0),     at(dilation_, 1),
          group_,          bias_term_};
}

template <>
bool ConvolutionLayer<float>::OnednnForward(const vector<Blob<float>*>& bottom,
                                            const vector<Blob<float>*>& top) {
  const bool possible = Possible(layer_param_, *bottom[0], *top[0]);
  if (possible && !onednn_) onednn_.reset(new onednn::Convolution(phase_));
  if (!possible || !onednn_->PrepareForward(OnednnGeometry(*bottom[0], *top[0]))) {
    float slope;
    if (!onednn_ || !onednn_->TakeReLU(&slope)) return false;
    Forward_cpu(bottom, top);  // comes here again, and goes on to Caffe's own code
    float* const data = top[0]->mutable_cpu_data();
    onednn::Rectify(onednn::Type::f32, data, data, top[0]->count(), slope);
    return true;
  }
  for (size_t i = 0; i < bottom.size(); ++i) {
    onednn_->Forward(*blobs_[0], bias_term_ ? blobs_[1].get() : nullptr, bottom[i], top[i]);
  }
  return true;
}

template <>
bool ConvolutionLayer<float>::OnednnBackward(const vector<Blob<float>*>& top,
                                             const vector<bool>& propagate_down,
                                             const vector<Blob<float>*>& bottom) {
  if (!Possible(layer_param_, *bottom[0], *top[0])) return false;
  const bool weights = param_propagate_down_[0], bias = bias_term_ && param_propagate_down_[1];
  bool data = false;
  for (size_t i = 0; i < top.size(); ++i) data |= propagate_down[i];
  if (!onednn_) onednn_.reset(new onednn::Convolution(phase_));
  if (!onednn_->PrepareBackward(OnednnGeometry(*bottom[0], *top[0]), weights || bias, data)) return false;
  for (size_t i = 0; i < top.size(); ++i) {
    if (weights || bias) {
      onednn_->BackwardWeights(bottom[i], top[i], weights ? blobs_[0]->mutable_cpu_diff() : nullptr,
                               bias ? blobs_[1]->mutable_cpu_diff() : nullptr);
    }
    if (propagate_down[i]) onednn_->BackwardData(*blobs_[0], bottom[i], top[i]);
  }
  return true;
}

template <>
bool ConvolutionLayer<float>::TakesOver(const Layer<float>& next) {
  const ReLUParameter& relu = next.layer_param().relu_param();
  if (std::strcmp(next.type(), "ReLU") != 0 || relu.engine() != ReLUParameter_Engine_DEFAULT || !onednn_ ||
      this->loss(0) != 0 || next.loss(0) != 0 || Caffe::mode() != Caffe::CPU) {
    return false;
  }
  onednn_->FollowWithReLU(relu.negative_slope());
  return true;
}

template <>
bool ConvolutionLayer<double>::OnednnForward(const vector<Blob<double>*>&, const vector<Blob<double>*>&) {
  return false;
}
template <>
bool ConvolutionLayer<double>::OnednnBackward(const vector<Blob<double>*>&, const vector<bool>&,
                                              const vector<Blob<double>*>&) {
  return false;
}
template <>
bool ConvolutionLayer<double>::TakesOver(const Layer<double>&) {
  return false;
}

}  // namespace caffe
