// Bounds, initialisation and races of shared accesses.
#include "kernels/emulator/shared_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kWord = 4;

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes, int warps)
    : warps_(warps),
      bytes_(bytes, std::byte{0xFF}),
      words_(bytes / kWord),
      read_epochs_(bytes / kWord * static_cast<std::size_t>(warps), 0),
      clocks_(static_cast<std::size_t>(warps) * static_cast<std::size_t>(warps), 0) {
  for (int w = 0; w < warps; ++w) clock(w, w) = 1;
}

std::string SharedMemory::range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const {
  if (at % kWord != 0 || bytes % kWord != 0) return fmt::format("{} of {} bytes at shared offset {} is not of whole words", verb, bytes, at);
  if (at > size() || bytes > size() - at) {
    return fmt::format("{} of {} bytes at shared offset {}, outside the block's {} bytes", verb, bytes, at, size());
  }
  return {};
}

std::string SharedMemory::read(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("read", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    const Word& word = words_[w];
    if (word.state == State::uninitialised) return fmt::format("read of uninitialised shared memory at offset {}", w * kWord);
    if (word.state == State::in_flight) return fmt::format("read of shared offset {} before the asynchronous copy to it was waited for", w * kWord);
    if (clock(warp, word.warp) < word.epoch) {
      return fmt::format("race: shared offset {} was written by warp {} and is read by warp {} without a barrier between", w * kWord, word.warp, warp);
    }
    read_epochs_[w * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(warp)] = clock(warp, warp);
  }
  return {};
}

std::string SharedMemory::write_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::in_flight) return fmt::format("write to shared offset {} while an asynchronous copy to it is under way", w * kWord);
  if (word.state == State::valid && clock(warp, word.warp) < word.epoch) {
    return fmt::format("race: shared offset {} is written by warps {} and {} without a barrier between", w * kWord, word.warp, warp);
  }
  const std::uint32_t* readers = &read_epochs_[w * static_cast<std::size_t>(warps_)];
  const std::uint32_t* known = &clocks_[index(warp, 0)];
  for (int reader = 0; reader < warps_; ++reader) {
    if (known[reader] < readers[reader]) {
      return fmt::format("race: shared offset {} was read by warp {} and is written by warp {} without a barrier between", w * kWord, reader, warp);
    }
  }
  return {};
}

std::string SharedMemory::write(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("write", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = write_complaint(warp, w); !wrong.empty()) return wrong;
    words_[w] = {clock(warp, warp), static_cast<std::uint8_t>(warp), State::valid};
  }
  return {};
}

std::string SharedMemory::begin_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = write(warp, at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w].state = State::in_flight;
  std::memset(&bytes_[at], 0xFF, bytes);
  return {};
}

void SharedMemory::land_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    words_[w] = {clock(warp, warp), static_cast<std::uint8_t>(warp), State::valid};
  }
}

void SharedMemory::synchronise(const std::vector<int>& warps) {
  std::vector<std::uint32_t> latest(static_cast<std::size_t>(warps_), 0);
  for (const int w : warps) {
    for (int known = 0; known < warps_; ++known) {
      auto& most = latest[static_cast<std::size_t>(known)];
      most = std::max(most, clock(w, known));
    }
  }
  for (const int w : warps) {
    for (int known = 0; known < warps_; ++known) clock(w, known) = latest[static_cast<std::size_t>(known)];
    ++clock(w, w);
  }
}

}  // namespace espalier::kernels::emulator
