// An entry of the instance list, from a kernel's compile-time shape.
#pragma once

#include "kernels/cuda/attend.h"
#include "kernels/cuda/instances.h"

namespace espalier::kernels::ESPALIER_TARGET {

template <class C>
constexpr AttendInstance instance(const char* name) {
  return {scheduler::TaskKind::attend,
          name,
          C::kQueryDtype,
          C::kKvDtype,
          C::kQkDim,
          C::kVDim,
          C::kVInK,
          C::kRows,
          C::kTokens,
          C::kStages,
          C::kWarpRows,
          C::kThreads,
          C::kSharedBytes,
          &attend_kernel<C>};
}

/// Of a kernel with threads that load and don't compute, which are part of its blocks.
template <class C>
constexpr AttendInstance loading_instance(const char* name, void (*kernel)(AttendParams), KernelPath path) {
  AttendInstance made{scheduler::TaskKind::attend,
                      name,
                      C::kQueryDtype,
                      C::kKvDtype,
                      C::kQkDim,
                      C::kVDim,
                      C::kVInK,
                      C::kRows,
                      C::kTokens,
                      C::kStages,
                      C::kWarpRows,
                      C::kBlockThreads,
                      C::kBlockSharedBytes,
                      kernel,
                      path};
  made.loading_threads = C::kBlockThreads - C::kThreads;
  return made;
}

}  // namespace espalier::kernels::ESPALIER_TARGET
