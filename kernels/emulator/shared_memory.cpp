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
      clocks_(static_cast<std::size_t>(warps_) * static_cast<std::size_t>(warps_), 0),
      fenced_(clocks_.size(), 0) {
  for (int w = 0; w < warps_; ++w) clock(w, w) = 1;
}

std::string SharedMemory::range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const {
  if (at % kWord != 0 || bytes % kWord != 0) return fmt::format("{} of {} bytes at shared offset {} is not of whole words", verb, bytes, at);
  if (at > size() || bytes > size() - at) {
    return fmt::format("{} of {} bytes at shared offset {}, outside the block's {} bytes", verb, bytes, at, size());
  }
  return {};
}

std::string SharedMemory::read_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::uninitialised) return fmt::format("read of uninitialised shared memory at offset {}", w * kWord);
  if (word.state == State::barrier) return fmt::format("read of shared offset {}, which holds a barrier", w * kWord);
  if (word.state == State::in_flight) return fmt::format("read of shared offset {} before the asynchronous copy to it was waited for", w * kWord);
  if (clock(warp, word.warp) < word.epoch) {
    return fmt::format("race: shared offset {} was written by {} and is read by warp {} without a barrier between", w * kWord, writer_text(word), warp);
  }
  return {};
}

std::string SharedMemory::read(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("read", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = read_complaint(warp, w); !wrong.empty()) return wrong;
    read_epochs_[w * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(warp)] = clock(warp, warp);
  }
  return {};
}

std::string SharedMemory::begin_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("matrix product's read", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = read_complaint(warp, w); !wrong.empty()) return wrong;
    if (unfenced(warp, words_[w])) {
      return fmt::format("a matrix product reads shared offset {}, which {} wrote by ordinary stores without a fence since", w * kWord, writer_text(words_[w]));
    }
    ++words_[w].matrix_reads;
  }
  return {};
}

void SharedMemory::end_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes) {
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    --words_[w].matrix_reads;
    read_epochs_[w * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(warp)] = clock(warp, warp);
  }
}

std::string SharedMemory::write_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::barrier) return fmt::format("write to shared offset {}, which holds a barrier", w * kWord);
  if (word.state == State::in_flight) return fmt::format("write to shared offset {} while an asynchronous copy to it is under way", w * kWord);
  if (word.matrix_reads > 0) return fmt::format("write to shared offset {} while a matrix product that reads it is under way", w * kWord);
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
    words_[w] = {clock(warp, warp), static_cast<std::uint8_t>(warp), State::valid};
  }
  return {};
}

std::string SharedMemory::writer_text(const Word& word) const {
  return word.warp == engine() ? std::string(word.proxy == Proxy::engine ? "a bulk copy" : "an asynchronous copy") : fmt::format("warp {}", word.warp);
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

std::string SharedMemory::begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("bulk copy", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = write_complaint(warp, w); !wrong.empty()) return wrong;
    Word& word = words_[w];
    if (word.state == State::valid && unfenced(warp, word)) {
      return fmt::format("bulk copy to shared offset {}, which {} wrote by ordinary stores without a fence since", w * kWord, writer_text(word));
    }
    word.state = State::in_flight;
  }
  std::memset(&bytes_[at], 0xFF, bytes);
  return {};
}

void SharedMemory::land_counted_copy(std::uint32_t at, std::uint32_t bytes, Proxy proxy, Clock& into) {
  const auto self = static_cast<int>(engine());
  const std::uint32_t epoch = ++clock(self, self);
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w] = {epoch, static_cast<std::uint8_t>(self), State::valid, proxy};
  into.seen.resize(static_cast<std::size_t>(warps_), 0);
  into.seen[engine()] = epoch;
}

void SharedMemory::fence_engine(int warp) {
  for (int known = 0; known < warps_; ++known) fenced_[index(warp, known)] = clock(warp, known);
  ++clock(warp, warp);  // what it does next has no fence yet
}

void SharedMemory::release(int warp, Clock& into) {
  into.seen.resize(static_cast<std::size_t>(warps_), 0);
  into.fenced.resize(static_cast<std::size_t>(warps_), 0);
  raise(into.seen, clocks_, warp);
  raise(into.fenced, fenced_, warp);
  ++clock(warp, warp);
}

void SharedMemory::acquire(int warp, const Clock& from) {
  const auto take = [&](const std::vector<std::uint32_t>& given, std::vector<std::uint32_t>& into) {
    for (std::size_t known = 0; known < given.size(); ++known) {
      auto& most = into[index(warp, static_cast<int>(known))];
      most = std::max(most, given[known]);
    }
  };
  take(from.seen, clocks_);
  take(from.fenced, fenced_);
}

std::string SharedMemory::reserve(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = write(warp, at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w].state = State::barrier;
  return {};
}

void SharedMemory::raise(std::vector<std::uint32_t>& into, const std::vector<std::uint32_t>& rows, int warp) const {
  for (int known = 0; known < warps_; ++known) {
    auto& most = into[static_cast<std::size_t>(known)];
    most = std::max(most, rows[index(warp, known)]);
  }
}

void SharedMemory::synchronise(const std::vector<int>& warps) {
  Clock latest{std::vector<std::uint32_t>(static_cast<std::size_t>(warps_), 0), std::vector<std::uint32_t>(static_cast<std::size_t>(warps_), 0)};
  for (const int w : warps) {
    raise(latest.seen, clocks_, w);
    raise(latest.fenced, fenced_, w);
  }
  for (const int w : warps) {
    acquire(w, latest);
    ++clock(w, w);
  }
}

}  // namespace espalier::kernels::emulator
