// The cuDNN part of Caffe's convolution and deconvolution layers: algorithms chosen once a shape, run on
// what the thread shares. Ours, not BVLC's.
#ifndef CAFFE_CUDNN_CONVOLUTIONS_HPP_
#define CAFFE_CUDNN_CONVOLUTIONS_HPP_

#include <cudnn.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "cudnn_shared.hpp"

namespace caffe {
namespace cudnn {

// A convolution takes the picture to the map; a deconvolution's bottom is the map, its top the picture.
struct ConvolutionShape {
  int count, group;
  int picture_channels, picture_height, picture_width;
  int map_channels, map_height, map_width;
  int kernel_height, kernel_width, pad_height, pad_width, stride_height, stride_width;
};

template <typename Dtype>
class Convolutions {
 public:
  explicit Convolutions(bool transposed) : transposed_(transposed) {}
  ~Convolutions();
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // Whether the blobs have other shapes than at the last Reshape.
  bool AreReshaped(const std::vector<Blob<Dtype>*>& bottom, const std::vector<Blob<Dtype>*>& top) const;

  // For blobs that have this shape by now; the layer's name is for the log.
  void Reshape(const ConvolutionShape& shape, const std::vector<Blob<Dtype>*>& bottom,
               const std::vector<Blob<Dtype>*>& top, const std::string& layer);

  // All pointers are to device memory; a layer without a bias has a null one.
  void Forward(const Dtype* bottom, const Dtype* weight, const Dtype* bias, Dtype* top);

  // Computes each gradient that isn't null: weights' and bias's are added to what is there.
  void Backward(const Dtype* bottom, const Dtype* weight, const Dtype* top_diff, Dtype* weight_diff,
                Dtype* bias_diff, Dtype* bottom_diff);

 private:
  enum Pass { kToMap, kToPicture, kToWeight };
  struct Chosen {
    bool done = false;
    int algorithm = 0;
    size_t bytes = 0;  // of workspace
  };

  void Choose(Pass pass);
  char* WorkspaceFor(std::initializer_list<Pass> passes, size_t places);
  size_t BytesOf(std::initializer_list<Pass> passes, size_t places);
  void Run(Pass pass, int handle, void* workspace, const Dtype* from, const Dtype* with, Dtype* to,
           int group);

  const bool transposed_;
  std::vector<std::vector<int>> shapes_;
  std::string layer_;
  ConvolutionShape shape_ = {};
  size_t limit_ = 0;  // of a pass's workspace
  Chosen chosen_[3];
  bool described_ = false;
  cudnnTensorDescriptor_t picture_ = nullptr, map_ = nullptr, bias_ = nullptr;
  cudnnFilterDescriptor_t weight_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  // from one group to the next
  size_t picture_step_ = 0, map_step_ = 0, weight_step_ = 0, bias_step_ = 0;
  SharedHold shared_;
};

}  // namespace cudnn
}  // namespace caffe

#endif  // CAFFE_CUDNN_CONVOLUTIONS_HPP_
