#include <vector>

#include "caffe/layers/relu_layer.hpp"
#include "onednn/engine.hpp"

namespace caffe {
namespace onednn {
namespace {

// Caffe's expression: the gradient passes where x > 0, times slope elsewhere.
CAFFE_EVERY_CPU
void BackwardRange(const float* x, const float* top_diff, float* bottom_diff, size_t count, float slope) {
#pragma omp simd
  for (size_t i = 0; i < count; ++i) bottom_diff[i] = top_diff[i] * ((x[i] > 0) + slope * (x[i] <= 0));
}

void Backward(const float* x, const float* top_diff, float* bottom_diff, size_t count, float slope) {
  constexpr size_t kBlock = 1 << 14;
#pragma omp parallel for
  for (size_t at = 0; at < count; at += kBlock) {
    BackwardRange(x + at, top_diff + at, bottom_diff + at, std::min(kBlock, count - at), slope);
  }
}

bool Possible(const LayerParameter& layer, const Blob<float>& bottom) {
  return layer.relu_param().engine() == ReLUParameter_Engine_DEFAULT && Wanted() && bottom.count() > 0 &&
         bottom.num_axes() > 0 && bottom.num_axes() <= DNNL_MAX_NDIMS;
}

}  // namespace
}  // namespace onednn

template <>
bool ReLULayer<float>::OnednnForward(const vector<Blob<float>*>& bottom, const vector<Blob<float>*>& top) {
  if (!onednn::Possible(layer_param_, *bottom[0])) return false;
  const onednn::Threads threads(onednn::Large(bottom[0]->count()));
  const onednn::Desc plain = onednn::Plain(*bottom[0]);
  SyncedMemory* const in = bottom[0]->data().get();
  const onednn::Layout* const layout = onednn::LayoutOf(*in, plain);
  const onednn::Desc held = layout ? layout->desc() : plain;
  const dnnl::memory x = onednn::Read(in, plain, held, onednn::kFirst);
  onednn::Result y(top[0]->data().get(), plain, held, onednn::kResult);
  onednn::Rectify(held.data_type(), x.get_data_handle(), y.data(), onednn::Count(held),
                  layer_param_.relu_param().negative_slope());
  y.Finish();
  return true;
}

template <>
bool ReLULayer<float>::OnednnBackward(const vector<Blob<float>*>& top, const vector<bool>& propagate_down,
                                      const vector<Blob<float>*>& bottom) {
  if (!propagate_down[0]) return true;
  if (!onednn::Possible(layer_param_, *bottom[0])) return false;
  const onednn::Threads threads(onednn::Large(bottom[0]->count()));
  const onednn::Desc plain = onednn::Plain(*bottom[0]);
  const onednn::Layout* layout = onednn::LayoutOf(*top[0]->diff(), plain);
  if (!layout) layout = onednn::LayoutOf(*bottom[0]->data(), plain);
  const bool floats = layout && layout->desc().data_type() == onednn::Type::f32;
  const onednn::Desc held = floats ? layout->desc() : plain;
  const dnnl::memory x = onednn::Read(bottom[0]->data().get(), plain, held, onednn::kFirst);
  const dnnl::memory top_diff = onednn::Read(top[0]->diff().get(), plain, held, onednn::kSecond);
  onednn::Result bottom_diff(bottom[0]->diff().get(), plain, held, onednn::kResult);
  onednn::Backward(static_cast<const float*>(x.get_data_handle()),
                   static_cast<const float*>(top_diff.get_data_handle()),
                   static_cast<float*>(bottom_diff.data()), onednn::Count(held),
                   layer_param_.relu_param().negative_slope());
  bottom_diff.Finish();
  return true;
}

template <>
bool ReLULayer<double>::OnednnForward(const vector<Blob<double>*>&, const vector<Blob<double>*>&) {
  return false;
}
template <>
bool ReLULayer<double>::OnednnBackward(const vector<Blob<double>*>&, const vector<bool>&,
                                       const vector<Blob<double>*>&) {
  return false;
}

}  // namespace caffe
