// One convolution layer's primitives and reordered weights.
#ifndef CAFFE_ONEDNN_CONVOLUTION_HPP_
#define CAFFE_ONEDNN_CONVOLUTION_HPP_

#include <memory>

#include "onednn/engine.hpp"
#include "onednn/weights.hpp"

namespace caffe {
namespace onednn {

// A two-dimensional convolution of float blobs, in Caffe's terms.
struct Geometry {
  int images, in_channels, in_height, in_width, out_channels, out_height, out_width;
  int kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;
  int dilation_height, dilation_width, group;
  int bias;  // 1: there is one
};

class Convolution {
 public:
  explicit Convolution(Phase phase) : training_(phase == TRAIN), type_(TypeIn(phase)) {}

  // The primitives for geometry from now on. False: only Caffe's own code can, at a fair speed.
  bool PrepareForward(const Geometry& geometry);
  bool PrepareBackward(const Geometry& geometry, bool weights, bool data);

  // The ReLU that the next Forward also does, by its negative slope.
  void FollowWithReLU(float negative_slope) {
    relu_ = true;
    slope_ = negative_slope;
  }
  // Says whether there is such a ReLU, and forgets it.
  bool TakeReLU(float* negative_slope);

  void Forward(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom, Blob<float>* top);
  // Adds to the weights' and bias' diffs (null: not wanted).
  void BackwardWeights(Blob<float>* bottom, Blob<float>* top, float* weights_diff, float* bias_diff);
  void BackwardData(const Blob<float>& weights, Blob<float>* bottom, Blob<float>* top);

 private:
  struct Step {
    dnnl::primitive primitive;
    int images;  // at a time
    Desc bottom, top, weights, scratchpad;
    bool rectifies = false;
    dnnl::memory Scratchpad() const { return At(scratchpad, Scratch(kScratchpad, scratchpad.get_size())); }
  };
  enum Kind { kForward, kBackwardWeights, kBackwardData };

  bool Large() const;
  // What no number of the top can exceed.
  float BoundOfTop(const Blob<float>& weights, const Blob<float>* bias, Blob<float>* bottom);
  void Take(const Geometry& geometry);
  const Step* Get(std::unique_ptr<Step>* step, Kind kind, bool relu);
  std::unique_ptr<Step> Make(Kind kind, bool relu) const;
  std::unique_ptr<Step> Try(Kind kind, Type type, bool relu, dnnl::algorithm algorithm, bool blocked,
                            int images) const;
  std::unique_ptr<Step> TryDirect(Kind kind, Type type, bool relu) const;
  std::unique_ptr<Step> TryWinograd(Kind kind, bool relu) const;
  Desc PlainWeights() const;

  const bool training_;
  const Type type_;  // of forward passes, where oneDNN has the geometry in it and it is faster so
  Geometry geometry_ = {};
  int threads_ = 0;
  bool relu_ = false;
  float slope_ = 0, step_slope_ = 0;
  std::unique_ptr<Step> forward_, forward_relu_, backward_weights_, backward_data_;
  Weights weights_;
};

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_CONVOLUTION_HPP_
