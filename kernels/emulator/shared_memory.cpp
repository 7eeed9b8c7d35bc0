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
    : warps_(warps + 1),
      bytes_(bytes, std::byte{0xFF}),
      words_(bytes / kWord),
      read_epochs_(bytes / kWord * static_cast<std::size_t>(warps_), 0),
      fences_(static_cast<std::size_t>(warps_), 0),
      clocks_(static_cast<std::size_t>(warps_) * static_cast<std::size_t>(warps_), 0) {
  for (int w = 0; w < warps_; ++w) clock(w, w) = 1;
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
    if (word.state == State::barrier) return fmt::format("read of shared offset {}, which holds a barrier", w * kWord);
    if (word.state == State::in_flight) return fmt::format("read of shared offset {} before the asynchronous copy to it was waited for", w * kWord);
    if (clock(warp, word.warp) < word.epoch) {
      return fmt::format("race: shared offset {} was written by {} and is read by warp {} without a barrier between", w * kWord, writer_text(word), warp);
    }
    read_epochs_[w * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(warp)] = clock(warp, warp);
  }
  return {};
}

std::string SharedMemory::write_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::barrier) return fmt::format("write to shared offset {}, which holds a barrier", w * kWord);
  if (word.state == State::in_flight) return fmt::format("write to shared offset {} while an asynchronous copy to it is under way", w * kWord);
  if (word.state == State::valid && clock(warp, word.warp) < word.epoch) {
    return fmt::format("race: shared offset {} is written by {} and by warp {} without a barrier between", w * kWord, writer_text(word), warp);
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
    words_[w] = {clock(warp, warp), fences_[static_cast<std::size_t>(warp)], static_cast<std::uint8_t>(warp), State::valid};
  }
  return {};
}

std::string SharedMemory::writer_text(const Word& word) const {
  return word.warp == engine() ? std::string("a bulk copy") : fmt::format("warp {}", word.warp);
}

std::string SharedMemory::begin_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = write(warp, at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w].state = State::in_flight;
  std::memset(&bytes_[at], 0xFF, bytes);
  return {};
}

void SharedMemory::land_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    words_[w] = {clock(warp, warp), fences_[static_cast<std::size_t>(warp)], static_cast<std::uint8_t>(warp), State::valid};
  }
}

std::string SharedMemory::begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("bulk copy", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = write_complaint(warp, w); !wrong.empty()) return wrong;
    Word& word = words_[w];
    if (word.state == State::valid && word.warp != engine() && fences_[word.warp] == word.fences) {
      return fmt::format("bulk copy to shared offset {}, which warp {} wrote by ordinary stores without a fence since", w * kWord, word.warp);
    }
    word.state = State::in_flight;
  }
  std::memset(&bytes_[at], 0xFF, bytes);
  return {};
}

void SharedMemory::land_bulk_copy(std::uint32_t at, std::uint32_t bytes, Clock& into) {
  const auto self = static_cast<int>(engine());
  const std::uint32_t epoch = ++clock(self, self);
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w] = {epoch, 0, static_cast<std::uint8_t>(self), State::valid};
  into.resize(static_cast<std::size_t>(warps_), 0);
  into[engine()] = epoch;
}

void SharedMemory::release(int warp, Clock& into) {
  into.resize(static_cast<std::size_t>(warps_), 0);
  for (int known = 0; known < warps_; ++known) {
    auto& most = into[static_cast<std::size_t>(known)];
    most = std::max(most, clock(warp, known));
  }
  ++clock(warp, warp);
}

void SharedMemory::acquire(int warp, const Clock& from) {
  for (std::size_t known = 0; known < from.size(); ++known) {
    auto& most = clock(warp, static_cast<int>(known));
    most = std::max(most, from[known]);
  }
}

std::string SharedMemory::reserve(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = write(warp, at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w].state = State::barrier;
  return {};
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
