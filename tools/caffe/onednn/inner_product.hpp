// One inner product layer's forward pass in bf16; in FP32 it is few_rows.hpp's, or Caffe's own by OpenBLAS.
#ifndef CAFFE_ONEDNN_INNER_PRODUCT_HPP_
#define CAFFE_ONEDNN_INNER_PRODUCT_HPP_

#include "onednn/weights.hpp"

namespace caffe {
namespace onednn {

class InnerProduct {
 public:
  struct Sizes {
    int rows, inputs, outputs;
    bool transposed;  // the weights are inputs x outputs
    bool bias;
    bool operator==(const Sizes& other) const {
      return rows == other.rows && inputs == other.inputs && outputs == other.outputs &&
             transposed == other.transposed && bias == other.bias;
    }
  };

  // False: oneDNN has nothing better than plain loops for these sizes.
  bool Prepare(const Sizes& sizes);
  void Forward(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom, Blob<float>* top);

 private:
  dnnl::inner_product_forward::primitive_desc Described(const Desc& weights) const;

  Sizes sizes_ = {};
  bool possible_ = false;
  dnnl::inner_product_forward::primitive_desc what_;
  dnnl::inner_product_forward primitive_;
  Weights weights_;
};

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_INNER_PRODUCT_HPP_
