// seen_by_caffe     reads names of files from its input, each ended by a zero byte, and says what Caffe sees
// of each
//
// One line a file: width, height, and the picture shrunk to 16 x 16, as 768 bytes in hexadecimal (BGR, row by
// row); or
// `-` where Caffe reads no picture. The pixels come from the function that convert_imageset calls.
#include <cstdio>
#include <iostream>
#include <opencv2/imgproc.hpp>
#include <string>

#include "caffe/util/io.hpp"

namespace {

constexpr int kSide = 16;

std::string seen(const std::string& file) {
  const cv::Mat picture = caffe::ReadImageToCVMat(file);
  if (picture.empty() || picture.type() != CV_8UC3) return "-";
  cv::Mat small;
  cv::resize(picture, small, cv::Size(kSide, kSide), 0, 0, cv::INTER_AREA);
  std::string line = std::to_string(picture.cols) + " " + std::to_string(picture.rows) + " ";
  const char* const digits = "0123456789abcdef";
  for (int i = 0; i < kSide * kSide * 3; ++i) {
    line += digits[small.data[i] >> 4];
    line += digits[small.data[i] & 15];
  }
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    const std::string option = argv[1];
    std::puts(
        "Usage: seen_by_caffe < NAMES\nReads names of files, each ended by a zero byte; says what Caffe "
        "sees.");
    return option == "--help" || option == "-h" ? 0 : 2;
  }
  std::string file;
  while (std::getline(std::cin, file, '\0')) {
    std::string line = "-";
    try {
      line = seen(file);
    } catch (const std::exception&) {
      // OpenCV's complaint, which would end convert_imageset
    }
    std::cout << line << std::endl;
  }
}
