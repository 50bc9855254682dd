// Average precision of one ranking by the Oxford Buildings ground truth.
//
// Same command line, definition and printed figure as compute_ap.cpp of the Oxford Buildings data set
// (Visual Geometry Group, https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/), which has no checks: a missing
// name or a line that ends in CR silently costs precision there. Here each such case is an error, or is read
// as meant.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

const char* const kHelp =
    "Usage: compute_ap GT_PREFIX RANKED_LIST [GT_PREFIX RANKED_LIST ...]\n"
    "\n"
    "Prints the average precision (0 to 1) of a ranking, or a line for each of several, by the Oxford\n"
    "Buildings definition:\n"
    "trapezoids under the precision-recall curve, good and ok pictures are positives, junk is skipped.\n"
    "\n"
    "  GT_PREFIX    the query's ground truth: GT_PREFIX_good.txt, GT_PREFIX_ok.txt, GT_PREFIX_junk.txt,\n"
    "               one picture's name a line, without extension\n"
    "  RANKED_LIST  one name a line, best first; no name twice\n"
    "\n"
    "LF, CR or both end a line; blank lines and blanks around a name are ignored. A positive that the "
    "ranking lacks counts as\n"
    "never found. Exit status: 0, 1 for bad input (nothing on standard output), 2 for a wrong command line.\n"
    "\n"
    "Example: compute_ap gt/all_souls_1 ranks/fc6/128/all_souls_1.txt\n";

std::string trimmed(const std::string& line) {
  const char* const blanks = " \t";
  const auto first = line.find_first_not_of(blanks);
  if (first == std::string::npos) return "";
  return line.substr(first, line.find_last_not_of(blanks) - first + 1);
}

bool starts_with(const std::string& text, const std::string& beginning) {
  return text.compare(0, beginning.size(), beginning) == 0;
}

std::string read_file(const std::string& path) {
  if (!std::filesystem::exists(path)) throw std::runtime_error(path + " does not exist");
  // A folder opens like a file and then reads as empty.
  if (std::filesystem::is_directory(path))
    throw std::runtime_error(path + " is a folder, not a list of names");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  std::ostringstream text;
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || text.fail()) throw std::runtime_error(path + " cannot be read to its end");
  return text.str();
}

std::vector<std::string> read_names(const std::string& path) {
  std::string text = read_file(path);
  if (starts_with(text, "\xFF\xFE") || starts_with(text, "\xFE\xFF"))
    throw std::runtime_error(path + " is text in UTF-16: save it as UTF-8");
  // A byte order mark is what some editors put before the first name; left there, that name would match
  // nothing.
  if (starts_with(text, "\xEF\xBB\xBF")) text.erase(0, 3);
  std::vector<std::string> names;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find_first_of("\r\n", start), text.size());
    const auto name = trimmed(text.substr(start, end - start));
    if (!name.empty()) names.push_back(name);
    start = end + 1;
  }
  return names;
}

void refuse_duplicates(const std::vector<std::string>& ranking, const std::string& path) {
  std::set<std::string> seen;
  for (const auto& name : ranking)
    if (!seen.insert(name).second) throw std::runtime_error(path + " ranks " + name + " twice");
}

// The mixture of float and double is the original's: it decides the last digit that is printed.
float average_precision(const std::set<std::string>& positives, const std::set<std::string>& junk,
                        const std::vector<std::string>& ranking) {
  float ap = 0.0F;
  float old_recall = 0.0F;
  float old_precision = 1.0F;
  std::size_t found = 0;
  std::size_t judged = 0;
  for (const auto& name : ranking) {
    if (junk.count(name) != 0) continue;
    found += positives.count(name);
    ++judged;
    const float recall = static_cast<float>(found) / static_cast<float>(positives.size());
    const float precision = static_cast<float>(static_cast<double>(found) / static_cast<double>(judged));
    ap = static_cast<float>(ap + (recall - old_recall) * ((old_precision + precision) / 2.0));
    old_recall = recall;
    old_precision = precision;
  }
  return ap;
}

float score(const std::string& prefix, const std::string& ranking_path) {
  std::set<std::string> positives;
  for (const char* const kind : {"_good.txt", "_ok.txt"})
    for (const auto& name : read_names(prefix + kind)) positives.insert(name);
  const auto junk = read_names(prefix + "_junk.txt");
  const auto ranking = read_names(ranking_path);
  if (positives.empty())
    throw std::runtime_error(prefix + "_good.txt and " + prefix +
                             "_ok.txt name no picture: nothing could be found");
  refuse_duplicates(ranking, ranking_path);
  return average_precision(positives, {junk.begin(), junk.end()}, ranking);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "-h")) {
    std::cout << kHelp;
    return 0;
  }
  if (arguments.empty() || arguments.size() % 2 != 0) {
    std::cerr << "Usage: compute_ap GT_PREFIX RANKED_LIST [GT_PREFIX RANKED_LIST ...]   (--help says more)\n";
    return 2;
  }
  try {
    std::ostringstream figures;  // all of them or none
    for (std::size_t i = 0; i < arguments.size(); i += 2)
      figures << score(arguments[i], arguments[i + 1]) << "\n";
    std::cout << figures.str() << std::flush;
    if (!std::cout) throw std::runtime_error("the result cannot be written to standard output");
  } catch (const std::exception& error) {
    std::cerr << "compute_ap: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
