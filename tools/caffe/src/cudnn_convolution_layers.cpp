// In place of Caffe's cudnn_conv_layer.{cpp,cu} and cudnn_deconv_layer.{cpp,cu}, whose classes these are:
// those search algorithms on every Forward and hold handles, streams and workspaces of their own. Ours,
// not BVLC's.
#ifdef USE_CUDNN
#include <vector>

#include "caffe/layers/cudnn_conv_layer.hpp"
#include "caffe/layers/cudnn_deconv_layer.hpp"

namespace caffe {

namespace {

// The shape without the picture and the map, from what Caffe's layers have set up.
cudnn::ConvolutionShape ShapeOf(int count, int group, const Blob<int>& kernel, const Blob<int>& pad,
                                const Blob<int>& stride) {
  cudnn::ConvolutionShape shape = {};
  shape.count = count;
  shape.group = group;
  shape.kernel_height = kernel.cpu_data()[0];
  shape.kernel_width = kernel.cpu_data()[1];
  shape.pad_height = pad.cpu_data()[0];
  shape.pad_width = pad.cpu_data()[1];
  shape.stride_height = stride.cpu_data()[0];
  shape.stride_width = stride.cpu_data()[1];
  return shape;
}

template <typename Dtype>
void ForwardAll(cudnn::Convolutions<Dtype>* convolutions, const std::vector<shared_ptr<Blob<Dtype>>>& blobs,
                const std::vector<Blob<Dtype>*>& bottom, const std::vector<Blob<Dtype>*>& top) {
  const Dtype* const weight = blobs[0]->gpu_data();
  const Dtype* const bias = blobs.size() > 1 ? blobs[1]->gpu_data() : nullptr;
  for (size_t i = 0; i < bottom.size(); ++i)
    convolutions->Forward(bottom[i]->gpu_data(), weight, bias, top[i]->mutable_gpu_data());
}

template <typename Dtype>
void BackwardAll(cudnn::Convolutions<Dtype>* convolutions, const std::vector<shared_ptr<Blob<Dtype>>>& blobs,
                 const std::vector<bool>& learns, const std::vector<Blob<Dtype>*>& top,
                 const std::vector<bool>& propagate_down, const std::vector<Blob<Dtype>*>& bottom) {
  Dtype* const weight_diff = learns[0] ? blobs[0]->mutable_gpu_diff() : nullptr;
  Dtype* const bias_diff = blobs.size() > 1 && learns[1] ? blobs[1]->mutable_gpu_diff() : nullptr;
  for (size_t i = 0; i < top.size(); ++i)
    convolutions->Backward(bottom[i]->gpu_data(), blobs[0]->gpu_data(), top[i]->gpu_diff(), weight_diff,
                           bias_diff, propagate_down[i] ? bottom[i]->mutable_gpu_diff() : nullptr);
}

}  // namespace

template <typename Dtype>
void CuDNNConvolutionLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                                           const vector<Blob<Dtype>*>& top) {
  if (!convolutions_.AreReshaped(bottom, top)) return;
  ConvolutionLayer<Dtype>::Reshape(bottom, top);
  CHECK_EQ(2, this->num_spatial_axes_)
      << "CuDNNConvolution input must have 2 spatial axes (e.g., height and width). "
      << "Use 'engine: CAFFE' for general ND convolution.";
  auto shape = ShapeOf(this->num_, this->group_, this->kernel_shape_, this->pad_, this->stride_);
  const int height = this->channel_axis_ + 1, width = height + 1;
  shape.picture_channels = this->channels_;
  shape.picture_height = bottom[0]->shape(height);
  shape.picture_width = bottom[0]->shape(width);
  shape.map_channels = this->num_output_;
  shape.map_height = top[0]->shape(height);
  shape.map_width = top[0]->shape(width);
  convolutions_.Reshape(shape, bottom, top, this->layer_param_.name());
}

template <typename Dtype>
void CuDNNConvolutionLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                               const vector<Blob<Dtype>*>& top) {
  ForwardAll(&convolutions_, this->blobs_, bottom, top);
}

template <typename Dtype>
void CuDNNConvolutionLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                                const vector<bool>& propagate_down,
                                                const vector<Blob<Dtype>*>& bottom) {
  BackwardAll(&convolutions_, this->blobs_, this->param_propagate_down_, top, propagate_down, bottom);
}

template <typename Dtype>
void CuDNNDeconvolutionLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                                             const vector<Blob<Dtype>*>& top) {
  if (!convolutions_.AreReshaped(bottom, top)) return;
  DeconvolutionLayer<Dtype>::Reshape(bottom, top);
  CHECK_EQ(2, this->num_spatial_axes_)
      << "CuDNNDeconvolution input must have 2 spatial axes (e.g., height and width). "
      << "Use 'engine: CAFFE' for general ND deconvolution.";
  auto shape = ShapeOf(this->num_, this->group_, this->kernel_shape_, this->pad_, this->stride_);
  const int height = this->channel_axis_ + 1, width = height + 1;
  shape.picture_channels = this->num_output_;
  shape.picture_height = top[0]->shape(height);
  shape.picture_width = top[0]->shape(width);
  shape.map_channels = this->channels_;
  shape.map_height = bottom[0]->shape(height);
  shape.map_width = bottom[0]->shape(width);
  convolutions_.Reshape(shape, bottom, top, this->layer_param_.name());
}

template <typename Dtype>
void CuDNNDeconvolutionLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                                 const vector<Blob<Dtype>*>& top) {
  ForwardAll(&convolutions_, this->blobs_, bottom, top);
}

template <typename Dtype>
void CuDNNDeconvolutionLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                                  const vector<bool>& propagate_down,
                                                  const vector<Blob<Dtype>*>& bottom) {
  BackwardAll(&convolutions_, this->blobs_, this->param_propagate_down_, top, propagate_down, bottom);
}

INSTANTIATE_CLASS(CuDNNConvolutionLayer);
INSTANTIATE_CLASS(CuDNNDeconvolutionLayer);

}  // namespace caffe
#endif  // USE_CUDNN
