// Words that probes use beyond those of kernels/cuda/device.h.
//
//   keep_result(params, x)   x counts as wanted, so that what made it isn't left out
//   pause_ns(ns)             waits; the emulator, which knows no time, goes on
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/probes/probe.h"

namespace espalier::kernels::ESPALIER_TARGET {

ESPALIER_WORD void keep_result(const ProbeParams& params, const Chunk& result) {
  if (params.keep != 0) store_global(params.sink + thread_index(), result);
}
ESPALIER_WORD void keep_result(const ProbeParams& params, float result) {
  if (params.keep != 0) store_global(reinterpret_cast<float*>(params.sink) + thread_index(), result);
}

ESPALIER_WORD void fold_in(Chunk& sum, const Chunk& more) {
  ESPALIER_UNROLL
  for (int w = 0; w < 4; ++w) sum.words[w] ^= more.words[w];
}

#if defined(__CUDACC__)
ESPALIER_WORD std::uint64_t timer_ns() {
  std::uint64_t ns;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns));
  return ns;
}
ESPALIER_WORD void pause_ns(std::int64_t ns) {
  const std::uint64_t until = timer_ns() + static_cast<std::uint64_t>(ns);
  while (ns > 0 && timer_ns() < until) {
  }
}
#else
ESPALIER_WORD void pause_ns(std::int64_t) {}
#endif

}  // namespace espalier::kernels::ESPALIER_TARGET
