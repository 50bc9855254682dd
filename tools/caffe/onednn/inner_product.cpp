#include "onednn/inner_product.hpp"

#include <string>
#include <vector>

#include "caffe/layers/inner_product_layer.hpp"
#include "onednn/few_rows.hpp"

namespace caffe {
namespace onednn {

using Tag = dnnl::memory::format_tag;

dnnl::inner_product_forward::primitive_desc InnerProduct::Described(const Desc& weights) const {
  const Desc bottom({sizes_.rows, sizes_.inputs}, Type::bf16, Tag::ab);
  const Desc top({sizes_.rows, sizes_.outputs}, Type::f32, Tag::ab);
  const Desc bias = sizes_.bias ? Desc({sizes_.outputs}, Type::f32, Tag::x) : Desc();
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return {{dnnl::prop_kind::forward_inference, bottom, weights, bias, top}, attributes, Cpu()};
}

bool InnerProduct::Prepare(const Sizes& sizes) {
  if (sizes == sizes_) return possible_;
  sizes_ = sizes;
  possible_ = false;
  const Desc any({sizes.outputs, sizes.inputs}, Type::bf16, Tag::any);
  try {
    what_ = Described(any);
    // another number of rows may want another layout: what is there serves, and need not be made again
    if (weights_.desc()) {
      try {
        what_ = Described(weights_.desc());
      } catch (const dnnl::error&) {
      }
    }
    possible_ = std::string(what_.impl_info_str()).find("ref") == std::string::npos;
    primitive_ = dnnl::inner_product_forward(what_);
  } catch (const dnnl::error&) {
  }
  return possible_;
}

void InnerProduct::Forward(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom,
                           Blob<float>* top) {
  const Threads threads(Large(static_cast<size_t>(sizes_.inputs) * sizes_.outputs));
  const Desc shape = Plain(*bottom);
  const dnnl::memory rows = Read(bottom->data().get(), shape, Plain(shape.dims(), Type::bf16), kFirst);
  const dnnl::memory::dims dims = {sizes_.outputs, sizes_.inputs};
  const Desc plain = sizes_.transposed ? Desc(dims, Type::f32, Tag::ba) : Plain(dims);
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, At(what_.src_desc(), rows.get_data_handle())},
      {DNNL_ARG_WEIGHTS, weights_.In(what_.weights_desc(), plain, weights.data().get())},
      {DNNL_ARG_DST, At(what_.dst_desc(), top->mutable_cpu_data())},
      {DNNL_ARG_SCRATCHPAD,
       At(what_.scratchpad_desc(), Scratch(kScratchpad, what_.scratchpad_desc().get_size()))}};
  if (bias) arguments[DNNL_ARG_BIAS] = At(Plain(dnnl::memory::dims{sizes_.outputs}), bias->cpu_data());
  Run(primitive_, arguments);
}

}  // namespace onednn

// In FP32 by our own code where that pays; training, which reads the weights three times a step, gains least
// from it and keeps OpenBLAS' results.
template <>
bool InnerProductLayer<float>::OnednnForward(const vector<Blob<float>*>& bottom,
                                             const vector<Blob<float>*>& top) {
  constexpr int kMostAxes = 6;
  const bool bf16 = onednn::TypeIn(phase_) == onednn::Type::bf16;
  if (bottom[0]->num_axes() > kMostAxes || bottom[0]->count() == 0 || top[0]->count() == 0) return false;
  if (!bf16) {
    if (phase_ != TEST || transpose_ || !onednn::Wanted() || !onednn::FewRowsPay(M_, K_, N_)) return false;
    const onednn::Threads threads(true);
    onednn::FewRows(bottom[0]->cpu_data(), M_, blobs_[0]->cpu_data(), K_, N_,
                    bias_term_ ? blobs_[1]->cpu_data() : nullptr, top[0]->mutable_cpu_data());
    return true;
  }
  if (!onednn_) onednn_.reset(new onednn::InnerProduct);
  if (!onednn_->Prepare({M_, K_, N_, transpose_, bias_term_})) return false;
  onednn_->Forward(*blobs_[0], bias_term_ ? blobs_[1].get() : nullptr, bottom[0], top[0]);
  return true;
}

template <>
bool InnerProductLayer<double>::OnednnForward(const vector<Blob<double>*>&, const vector<Blob<double>*>&) {
  return false;
}

}  // namespace caffe
