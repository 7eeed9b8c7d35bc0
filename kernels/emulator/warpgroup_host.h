// The words of products of a warpgroup (kernels/cuda/device.h) for a host compiler: operations of the emulator.
#pragma once

#include "kernels/emulator/operations.h"
#include "traces/head_config.h"

#define ESPALIER_WARPGROUPS 1

namespace espalier::kernels::on_host {

ESPALIER_WORD std::uint32_t shared_window(SharedAddress at) { return at; }
ESPALIER_WORD void arrive_when_copied(SharedAddress barrier) { emulator::arrive_when_copied(barrier); }

template <class... Registers>
ESPALIER_WORD void group_fence(Registers&...) {
  emulator::warpgroup_fence();
}
template <Dtype dtype, int kTiles>
ESPALIER_WORD void group_multiply(float (&sums)[kTiles][4], std::uint64_t left, std::uint64_t right, bool accumulate) {
  static_assert(sizeof sums == kTiles * 4 * sizeof(float));
  emulator::warpgroup_multiply({.format = dtype == Dtype::bf16 ? emulator::MmaFormat::bf16 : emulator::MmaFormat::fp16,
                                .columns = kTiles * 8,
                                .right_major = emulator::Major::k,
                                .accumulate = accumulate,
                                .left_registers = nullptr,
                                .left = left,
                                .right = right},
                               &sums[0][0]);
}
template <Dtype dtype, int kTiles>
ESPALIER_WORD void group_multiply(float (&sums)[kTiles][4], const std::uint32_t (&left)[4], std::uint64_t right) {
  emulator::warpgroup_multiply({.format = dtype == Dtype::bf16 ? emulator::MmaFormat::bf16 : emulator::MmaFormat::fp16,
                                .columns = kTiles * 8,
                                .right_major = emulator::Major::mn,
                                .accumulate = true,
                                .left_registers = left,
                                .left = 0,
                                .right = right},
                               &sums[0][0]);
}
ESPALIER_WORD void group_commit() { emulator::warpgroup_commit(); }
template <int kPending, class... Registers>
ESPALIER_WORD void group_wait(Registers&...) {
  emulator::warpgroup_wait(kPending);
}

}  // namespace espalier::kernels::on_host
