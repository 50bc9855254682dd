// Runs a network on weights and inputs that are drawn here, the same on every machine, and prints what it
// took: for bench/gpu_check, which has Python's standard library alone. Ours, not BVLC's.
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/caffe.hpp"
#include "gpu_support.hpp"

namespace {

using caffe::Blob;
using caffe::Caffe;
using caffe::Net;

const char kUsage[] =
    R"(Usage: caffe_measure NET forward|train [--gpu N] [--iterations N] [--seconds N] [--warm-up N] [--blocking 1]
                     [--blob NAME --out FILE]

NET has Input layers, whose pictures and labels (0 to 7) are drawn; so are its weights. forward runs it as in
tests, train takes steps of gradient descent. Prints JSON: milliseconds of each iteration, losses (blob loss,
where there is one), CPU milliseconds an iteration, and memory_mib of the GPU.
  --iterations  default 10, after --warm-up (default 3)
  --seconds     after so many (default 0: any) it stops, but not before the third iteration
  --blocking 1  the CPU sleeps while it waits for the GPU, so that its time is its own
  --blob        writes a blob's values after the last iteration to a file, as 4-byte floats
Example: caffe_measure vgg16.prototxt train --gpu 0 --iterations 20
)";

struct Options {
  std::string net, what, gpu, blob, out;
  int iterations = 10, warm_up = 3, seconds = 0;
  bool blocking = false;
};

[[noreturn]] void Misused(const std::string& what) {
  std::fprintf(stderr, "caffe_measure: %s (see --help)\n", what.c_str());
  std::exit(2);
}

int Number(const std::string& option, const std::string& value) {
  if (value.empty() || value.size() > 6 || value.find_first_not_of("0123456789") != std::string::npos)
    Misused(option + " takes a whole number, not " + value);
  return std::atoi(value.c_str());
}

Options Parse(int count, char** words) {
  Options options;
  std::vector<std::string> places;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "-h" || word == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (word.rfind("--", 0) != 0) {
      places.push_back(word);
      continue;
    }
    if (i + 1 == count) Misused(word + " needs a value");
    const std::string value = words[++i];
    if (word == "--gpu")
      options.gpu = value;
    else if (word == "--iterations")
      options.iterations = Number(word, value);
    else if (word == "--seconds")
      options.seconds = Number(word, value);
    else if (word == "--warm-up")
      options.warm_up = Number(word, value);
    else if (word == "--blocking")
      options.blocking = Number(word, value) != 0;
    else if (word == "--blob")
      options.blob = value;
    else if (word == "--out")
      options.out = value;
    else
      Misused("unknown option " + word);
  }
  if (places.size() != 2 || (places[1] != "forward" && places[1] != "train"))
    Misused("NET and forward or train are needed");
  if (options.blob.empty() != options.out.empty()) Misused("--blob and --out go together");
  options.net = places[0];
  options.what = places[1];
  return options;
}

// Numbers of a given spread around 0, the same from every compiler: xorshift64*, uniform.
class Draw {
 public:
  float operator()(float spread) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    const uint64_t bits = (state_ * 0x2545F4914F6CDD1DULL) >> 40;  // 24 of them, as many as a float holds
    return (static_cast<float>(bits) / (1 << 23) - 1) * spread;
  }

 private:
  uint64_t state_ = 88172645463325252ULL;
};

void Fill(Net<float>* net) {
  Draw draw;
  for (Blob<float>* blob : net->learnable_params()) {
    float* const data = blob->mutable_cpu_data();
    const bool is_bias = blob->num_axes() < 2;
    // He's variance, 2 over the inputs of an output, for a uniform distribution
    const float spread = is_bias ? 0 : std::sqrt(6.f * blob->shape(0) / blob->count());
    for (int i = 0; i < blob->count(); ++i) data[i] = draw(spread);
  }
  for (size_t layer = 0; layer < net->layers().size(); ++layer) {
    if (std::strcmp(net->layers()[layer]->type(), "Input") != 0) continue;
    for (Blob<float>* blob : net->top_vecs()[layer]) {
      float* const data = blob->mutable_cpu_data();
      for (int i = 0; i < blob->count(); ++i) data[i] = blob->num_axes() < 2 ? i % 8 : draw(2);
    }
  }
}

void Wait() {
#ifndef CPU_ONLY
  if (Caffe::mode() == Caffe::GPU) CUDA_CHECK(cudaDeviceSynchronize());
#endif
}

size_t FreeMemory() {
  size_t free = 0;
#ifndef CPU_ONLY
  size_t total = 0;
  if (Caffe::mode() == Caffe::GPU) CUDA_CHECK(cudaMemGetInfo(&free, &total));
#endif
  return free;
}

void UseDevice(const Options& options) {
  if (options.gpu.empty()) return;
#ifndef CPU_ONLY
  // before the context is there; what is wrong with the device RequireGpus says
  if (options.blocking && cudaInitDevice(Number("--gpu", options.gpu), cudaDeviceScheduleBlockingSync,
                                         cudaInitDeviceFlagsAreValid) != cudaSuccess)
    cudaGetLastError();
#endif
  caffe::RequireGpus(options.gpu);
  Caffe::SetDevice(Number("--gpu", options.gpu));
  Caffe::set_mode(Caffe::GPU);
}

double CpuMilliseconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
         (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

void PrintList(const char* name, const std::vector<double>& values) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.9g", i ? ", " : "", values[i]);
  std::printf("]");
}

void Write(const Net<float>& net, const std::string& name, const std::string& path) {
  if (!net.has_blob(name)) throw std::runtime_error("the network has no blob " + name);
  const Blob<float>& blob = *net.blob_by_name(name);
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  const size_t count = blob.count();
  if (!file || std::fwrite(blob.cpu_data(), sizeof(float), count, file) != count || std::fclose(file) != 0)
    throw std::runtime_error("cannot write " + path);
}

void Measure(const Options& options) {
  Caffe::set_random_seed(1);
  const size_t free_before = FreeMemory();
  caffe::shared_ptr<caffe::Solver<float>> solver;
  caffe::shared_ptr<Net<float>> net;
  if (options.what == "train") {
    caffe::SolverParameter parameter;
    parameter.set_net(options.net);
    parameter.set_base_lr(0.001);
    parameter.set_lr_policy("fixed");
    parameter.set_momentum(0.9);
    parameter.set_weight_decay(0.0005);
    parameter.set_random_seed(1);
    solver.reset(caffe::SolverRegistry<float>::CreateSolver(parameter));
    net = solver->net();
  } else {
    net.reset(new Net<float>(options.net, caffe::TEST));
  }
  Fill(net.get());
  std::vector<double> milliseconds, losses;
  double cpu_before = 0;
  for (int i = 0; i < options.warm_up + options.iterations; ++i) {
    if (i == options.warm_up) cpu_before = CpuMilliseconds();
    const auto start = std::chrono::steady_clock::now();
    if (solver)
      solver->Step(1);
    else
      net->Forward();
    Wait();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (i >= options.warm_up) milliseconds.push_back(took.count());
    if (net->has_blob("loss")) losses.push_back(net->blob_by_name("loss")->cpu_data()[0]);
    const double so_far = std::accumulate(milliseconds.begin(), milliseconds.end(), 0.);
    if (options.seconds > 0 && milliseconds.size() >= 3 && so_far > 1e3 * options.seconds) break;
  }
  const double cpu = (CpuMilliseconds() - cpu_before) / std::max<size_t>(1, milliseconds.size());
  const size_t free_after = FreeMemory();
  if (!options.blob.empty()) Write(*net, options.blob, options.out);
  std::printf("{");
  PrintList("milliseconds", milliseconds);
  std::printf(", ");
  PrintList("losses", losses);
  std::printf(", \"cpu_milliseconds\": %.3f, \"memory_mib\": %ld}\n", cpu,
              (static_cast<long>(free_before) - static_cast<long>(free_after)) >> 20);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  google::InitGoogleLogging(argv[0]);
  UseDevice(options);
  try {
    Measure(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "caffe_measure: %s\n", error.what());
    return 1;
  }
  return 0;
}
