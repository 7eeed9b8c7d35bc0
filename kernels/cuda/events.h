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
ESPALIER_DEVICE void stamp_end(EventRecord* records, std::int32_t index) {
  if (records == nullptr || thread_index() != 0) return;
  store_global(&records[index].end_ns, device_time_ns());
  store_global(&records[index].block, block_index() + 1);
  store_global(&records[index].sm, multiprocessor());
}

}  // namespace espalier::kernels::ESPALIER_TARGET
