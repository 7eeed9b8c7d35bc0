// The attend kernel for sm_90a: products of warpgroups, 64 rows each; four warps beside them load.
//
// Predicted over attend_bulk.h for tiles of 64 rows and more: each byte of K and V leaves shared memory once for 64
// rows instead of once for 16 or 32, and products run at twice the rate of mma.sync. Not yet measured. Known weak
// spots: a warpgroup waits for each of its products, so the softmax of one hides behind the other's products at 128
// rows only; copies are of 16 bytes.
#pragma once

#include "kernels/cuda/attend_bulk.h"
#include "kernels/cuda/panel_loader.h"

namespace espalier::kernels::ESPALIER_TARGET {

/// As bulk_threads().
template <class C>
constexpr int warpgroup_threads() {
#if defined(ESPALIER_WARPGROUPS)
  return C::kBlockThreads;
#else
  return 32;
#endif
}

/// Empty where there are no products of warpgroups.
template <class C>
ESPALIER_KERNEL(warpgroup_threads<C>(), C::kBlocks)
attend_wgmma_kernel(ESPALIER_PARAMETER AttendParams params) {
#if defined(ESPALIER_WARPGROUPS)
  if (thread_index() == 0) Ring<C>::init();
  block_sync<C::kBlockThreads>();
  run_tasks<C, PanelLoader<C>>(params, items_of_block(params));
#endif
}

}  // namespace espalier::kernels::ESPALIER_TARGET
