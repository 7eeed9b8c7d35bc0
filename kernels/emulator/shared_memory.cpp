// Bounds, initialisation and races of shared accesses.
#include "kernels/emulator/shared_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace espalier::kernels::emulator {
namespace {

constexpr std::uint32_t kWord = 4;

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes, SharedPlace place, WarpClocks& clocks)
    : place_(place), clocks_(clocks), bytes_(bytes, std::byte{0xFF}), words_(bytes / kWord),
      read_epochs_(bytes / kWord * static_cast<std::size_t>(place.count()), 0),
      remote_epochs_(static_cast<std::size_t>(clocks.count()), 0) {}

std::string SharedMemory::range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const {
  if (at % kWord != 0 || bytes % kWord != 0) {
    return fmt::format("{} of {} bytes at shared offset {} is not of whole words", verb, bytes, at);
  }
  if (at > size() || bytes > size() - at) {
    return fmt::format("{} of {} bytes at shared offset {}, outside the block's {} bytes", verb, bytes, at, size());
  }
  return {};
}

std::string SharedMemory::read_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::uninitialised) {
    return fmt::format("read of uninitialised shared memory at offset {}", w * kWord);
  }
  if (word.state == State::barrier) return fmt::format("read of shared offset {}, which holds a barrier", w * kWord);
  if (word.state == State::in_flight) {
    return fmt::format("read of shared offset {} before the asynchronous copy to it was waited for", w * kWord);
  }
  if (clocks_.seen(warp, word.warp) < word.epoch) {
    return fmt::format("race: shared offset {} was written by {} and is read by {} without a barrier between",
                       w * kWord, writer_text(word), warp_text(warp));
  }
  return {};
}

std::string SharedMemory::read(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("read", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = read_complaint(warp, w); !wrong.empty()) return wrong;
    read_epoch(w, warp) = clocks_.now(warp);
  }
  return {};
}

std::string SharedMemory::begin_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("matrix product's read", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = read_complaint(warp, w); !wrong.empty()) return wrong;
    if (unfenced(warp, words_[w])) {
      return fmt::format(
          "a matrix product reads shared offset {}, which {} wrote by ordinary stores without a fence since", w * kWord,
          writer_text(words_[w]));
    }
    ++words_[w].matrix_reads;
  }
  return {};
}

void SharedMemory::end_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes) {
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    --words_[w].matrix_reads;
    read_epoch(w, warp) = clocks_.now(warp);
  }
}

std::string SharedMemory::write_complaint(int warp, std::size_t w) const {
  const Word& word = words_[w];
  if (word.state == State::barrier) return fmt::format("write to shared offset {}, which holds a barrier", w * kWord);
  if (word.state == State::in_flight) {
    return fmt::format("write to shared offset {} while an asynchronous copy to it is under way", w * kWord);
  }
  if (word.matrix_reads > 0) {
    return fmt::format("write to shared offset {} while a matrix product that reads it is under way", w * kWord);
  }
  if (word.state == State::valid && clocks_.seen(warp, word.warp) < word.epoch) {
    return fmt::format("race: shared offset {} is written by {} and by {} without a barrier between", w * kWord,
                       writer_text(word), warp_text(warp));
  }
  const std::uint32_t* readers = &read_epochs_[w * static_cast<std::size_t>(place_.count())];
  for (int reader = 0; reader < place_.count(); ++reader) {
    if (clocks_.seen(warp, place_.first + reader) < readers[reader]) {
      return fmt::format("race: shared offset {} was read by {} and is written by {} without a barrier between",
                         w * kWord, warp_text(place_.first + reader), warp_text(warp));
    }
  }
  return {};
}

std::string SharedMemory::write(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("write", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = write_complaint(warp, w); !wrong.empty()) return wrong;
    words_[w] = {clocks_.now(warp), static_cast<std::uint16_t>(warp), State::valid};
  }
  return {};
}

std::string SharedMemory::writer_text(const Word& word) const {
  if (word.warp == place_.engine()) return word.proxy == Proxy::engine ? "a bulk copy" : "an asynchronous copy";
  return warp_text(word.warp);
}

std::string SharedMemory::warp_text(int warp) const {
  if (place_.holds(warp)) return fmt::format("warp {}", warp - place_.first);
  return fmt::format("warp {} of block {} of the cluster", warp % place_.count(), warp / place_.count());
}

bool SharedMemory::knows(int warp) const {
  const std::uint32_t epoch =
      warp == place_.engine() ? clocks_.now(warp) : remote_epochs_[static_cast<std::size_t>(warp)];
  for (int own = place_.first; own < place_.engine(); ++own) {
    if (clocks_.seen(own, warp) >= epoch) return true;
  }
  return false;
}

std::string SharedMemory::use_barrier(int warp, std::uint32_t at) const {
  const Word& word = words_[at / kWord];
  if (clocks_.seen(warp, word.warp) >= word.epoch) return {};
  return fmt::format(
      "race: the barrier at shared offset {} was initialised by {} and is used by {} without a barrier between", at,
      writer_text(word), warp_text(warp));
}

std::string SharedMemory::end() const {
  for (int warp = 0; warp < clocks_.count(); ++warp) {
    if (remote_epochs_[static_cast<std::size_t>(warp)] > 0 && !knows(warp)) {
      return fmt::format("the block ends without knowing of the arrival of {} at a barrier of its own",
                         warp_text(warp));
    }
  }
  if (clocks_.now(place_.engine()) > 1 && !knows(place_.engine())) {
    return "the block ends before a copy to its shared memory was waited for";
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
    words_[w] = {clocks_.now(warp), static_cast<std::uint16_t>(warp), State::valid};
  }
}

std::string SharedMemory::begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = range_complaint("bulk copy", at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    if (std::string wrong = write_complaint(warp, w); !wrong.empty()) return wrong;
    Word& word = words_[w];
    if (word.state == State::valid && unfenced(warp, word)) {
      return fmt::format("bulk copy to shared offset {}, which {} wrote by ordinary stores without a fence since",
                         w * kWord, writer_text(word));
    }
    word.state = State::in_flight;
  }
  std::memset(&bytes_[at], 0xFF, bytes);
  return {};
}

void SharedMemory::land_counted_copy(std::uint32_t at, std::uint32_t bytes, Proxy proxy, WarpClocks::Clock& into) {
  const std::uint32_t epoch = clocks_.advance(place_.engine());
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) {
    words_[w] = {epoch, static_cast<std::uint16_t>(place_.engine()), State::valid, proxy};
  }
  into.seen.resize(static_cast<std::size_t>(clocks_.count()), 0);
  into.seen[static_cast<std::size_t>(place_.engine())] = epoch;
}

std::string SharedMemory::reserve(int warp, std::uint32_t at, std::uint32_t bytes) {
  if (std::string wrong = write(warp, at, bytes); !wrong.empty()) return wrong;
  for (std::size_t w = at / kWord; w < (at + bytes) / kWord; ++w) words_[w].state = State::barrier;
  return {};
}

}  // namespace espalier::kernels::emulator
