// Sectors and lines of global instructions, wavefronts of shared ones.
#include "kernels/emulator/warp_accesses.h"

#include <algorithm>
#include <vector>

namespace espalier::kernels::emulator {
namespace {

constexpr std::uintptr_t kSector = 32, kLine = 128;
constexpr std::uint32_t kBanks = 32, kBankBytes = 4;

std::int64_t distinct(std::vector<std::uintptr_t>& values) {
  std::sort(values.begin(), values.end());
  return std::unique(values.begin(), values.end()) - values.begin();
}

/// Most distinct words that one bank has to serve for lanes [first, last).
std::int64_t phase_wavefronts(const SharedAccesses& accesses, int first, int last) {
  std::array<std::vector<std::uintptr_t>, kBanks> words;
  for (int lane = first; lane < last; ++lane) {
    const auto i = static_cast<std::size_t>(lane);
    for (std::uint32_t at = accesses.at[i]; at < accesses.at[i] + accesses.bytes[i]; at += kBankBytes) {
      words[at / kBankBytes % kBanks].push_back(at / kBankBytes);
    }
  }
  std::int64_t most = 0;
  for (auto& bank : words) most = std::max(most, distinct(bank));
  return most;
}

}  // namespace

void count_shared(const SharedAccesses& accesses, SharedTraffic& traffic) {
  const std::uint32_t widest = *std::max_element(accesses.bytes.begin(), accesses.bytes.end());
  if (widest == 0) return;
  const int phase = widest > 8 ? 8 : widest > 4 ? 16 : kLanes;
  ++traffic.requests;
  for (int lane = 0; lane < kLanes; lane += phase) {
    const std::int64_t wavefronts = phase_wavefronts(accesses, lane, lane + phase);
    traffic.wavefronts += wavefronts;
    traffic.least += wavefronts > 0;
  }
}

void WarpAccesses::global(const void* site, int lane, std::uintptr_t address, std::uint32_t bytes,
                          GlobalTraffic& traffic) {
  Group empty;
  empty.global = &traffic;
  add(site, lane, address, bytes, empty);
}

void WarpAccesses::shared(const void* site, int lane, std::uint32_t at, std::uint32_t bytes, SharedTraffic& traffic) {
  Group empty;
  empty.shared = &traffic;
  add(site, lane, at, bytes, empty);
}

void WarpAccesses::add(const void* place, int lane, std::uintptr_t address, std::uint32_t bytes, const Group& empty) {
  Site& site = sites_[place];
  const auto i = static_cast<std::size_t>(lane);
  const std::size_t group = site.visits[i]++ - site.first;
  while (site.groups.size() <= group) site.groups.push_back(empty);
  Group& g = site.groups[group];
  g.address[i] = address;
  g.bytes[i] = static_cast<std::uint8_t>(bytes);
  ++g.arrived;
  while (!site.groups.empty() && site.groups.front().arrived == kLanes) {
    count(site.groups.front());
    site.groups.pop_front();
    ++site.first;
  }
}

void WarpAccesses::count(const Group& group) {
  if (group.shared != nullptr) {
    SharedAccesses accesses;
    accesses.bytes = group.bytes;
    for (std::size_t i = 0; i < kLanes; ++i) accesses.at[i] = static_cast<std::uint32_t>(group.address[i]);
    return count_shared(accesses, *group.shared);
  }
  std::vector<std::uintptr_t> sectors, lines;
  for (std::size_t i = 0; i < kLanes; ++i) {
    if (group.bytes[i] == 0) continue;
    const std::uintptr_t last = group.address[i] + group.bytes[i] - 1;
    for (std::uintptr_t s = group.address[i] / kSector; s <= last / kSector; ++s) sectors.push_back(s);
    for (std::uintptr_t l = group.address[i] / kLine; l <= last / kLine; ++l) lines.push_back(l);
  }
  ++group.global->requests;
  group.global->sectors += distinct(sectors);
  group.global->lines += distinct(lines);
}

void WarpAccesses::finish() {
  for (auto& [place, site] : sites_) {
    for (const Group& group : site.groups) count(group);
  }
  sites_.clear();
}

}  // namespace espalier::kernels::emulator
