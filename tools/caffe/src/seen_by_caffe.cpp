// seen_by_caffe     reads names of files from its input, each ended by a zero byte, and says what Caffe sees
// of each
//
// One line a file: width, height, and the picture shrunk to 16 x 16, as 768 bytes in hexadecimal (BGR, row by
// row), then, each after a tab, what libjpeg warned of while it decoded; or `-` where Caffe reads no picture.
// The pixels come from the function that convert_imageset calls.
#include <dlfcn.h>
#include <stdio.h>
// which jpeglib.h needs before it
#include <jpeglib.h>

#include <cstddef>
#include <iostream>
#include <opencv2/imgproc.hpp>
#include <set>
#include <string>

#include "caffe/util/io.hpp"

namespace {

constexpr int kSide = 16;
constexpr std::size_t kMostWarnings = 16;

std::set<std::string> warnings;

void keep_warning(j_common_ptr decoder, int level) {
  if (level >= 0 || warnings.size() >= kMostWarnings) return;
  char words[JMSG_LENGTH_MAX];
  decoder->err->format_message(decoder, words);
  warnings.insert(words);
}

std::string seen(const std::string& file) {
  warnings.clear();
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
  for (const std::string& warning : warnings) line += "\t" + warning;
  return line;
}

}  // namespace

// OpenCV lets libjpeg print its first warning and keeps none. It calls this function instead of libjpeg's own
// of the name, as the program's come before its libraries'.
extern "C" jpeg_error_mgr* jpeg_std_error(jpeg_error_mgr* manager) {
  using Function = jpeg_error_mgr* (*)(jpeg_error_mgr*);
  static const auto original = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "jpeg_std_error"));
  original(manager)->emit_message = keep_warning;
  return manager;
}

int main(int argc, char** argv) {
  if (argc > 1) {
    const std::string option = argv[1];
    puts(
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
