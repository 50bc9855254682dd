// Prints the kernel OpenBLAS runs on this CPU, as "Haswell"; where it has fallen back to a generic one
// although the CPU can do better, as "Prescott -> SKYLAKEX": the value OPENBLAS_CORETYPE should have.
#include <cstdio>
#include <cstring>

extern "C" char* openblas_get_corename();

int main() {
  const char* core = openblas_get_corename();
  const bool generic = !strcasecmp(core, "Prescott") || !strcasecmp(core, "Generic") ||
                       !strcasecmp(core, "Core2") || !strcasecmp(core, "Unknown");
  const char* better = nullptr;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    better = "SKYLAKEX";
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    better = "HASWELL";
  else if (__builtin_cpu_supports("avx"))
    better = "SANDYBRIDGE";
#endif
  if (generic && better)
    std::printf("%s -> %s\n", core, better);
  else
    std::printf("%s\n", core);
}
