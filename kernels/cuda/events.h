// A record of what ran when, for timelines: a place for each item of a launch, stamped by one thread at begin and end.
//
// Places are null in launches that are timed: then a stamp costs a comparison with a kernel parameter.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/params.h"

namespace espalier::kernels::ESPALIER_TARGET {

ESPALIER_DEVICE void stamp_begin(EventRecord* records, std::int32_t index) {
  if (records != nullptr && thread_index() == 0) store_global(&records[index].begin_ns, device_time_ns());
}
/// By a thread that knows the others are through.
ESPALIER_DEVICE void stamp_end(EventRecord* records, std::int32_t index) {
  if (records == nullptr || thread_index() != 0) return;
  store_global(&records[index].end_ns, device_time_ns());
  store_global(&records[index].block, block_index() + 1);
  store_global(&records[index].sm, multiprocessor());
}
/// Once all threads of the block are through.
template <int kThreads>
ESPALIER_DEVICE void stamp_block_end(EventRecord* records, std::int32_t index) {
  if (records == nullptr) return;
  block_sync<kThreads>();
  stamp_end(records, index);
}

}  // namespace espalier::kernels::ESPALIER_TARGET
