// Shared memory of one block, with a record of who wrote and read each word when: by the clocks of the block's cluster,
// races are found.
//
// Warps have numbers of their cluster (SharedPlace). Only bulk copies write the memory of another block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/emulator/warp_clocks.h"

namespace espalier::kernels::emulator {

/// A block's numbers among the clocks of its cluster: warps `first` … `first` + `warps` - 1, then its engine.
struct SharedPlace {
  int first = 0, warps = 0;
  int engine() const { return first + warps; }
  int count() const { return warps + 1; }
  bool holds(int warp) const { return warp >= first && warp <= engine(); }
};

class SharedMemory {
 public:
  /// How a word was written. Engines see at once what engines wrote.
  enum class Proxy : std::uint8_t { ordinary, engine };

  SharedMemory(std::size_t bytes, SharedPlace place, WarpClocks& clocks);

  /// Each returns a complaint, empty when the access is right. Ranges are whole 4-byte words.
  [[nodiscard]] std::string read(int warp, std::uint32_t at, std::uint32_t bytes);
  [[nodiscard]] std::string write(int warp, std::uint32_t at, std::uint32_t bytes);
  /// An asynchronous copy was issued: until it lands nobody may touch the words, which are poisoned.
  [[nodiscard]] std::string begin_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  void land_copy(int warp, std::uint32_t at, std::uint32_t bytes);

  /// Bulk copies are written by an engine, on behalf of a warp of any block of the cluster.
  [[nodiscard]] std::string begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  /// What a barrier counted, bulk copies or ordinary asynchronous ones, is seen by those who acquire its `clock`.
  void land_counted_copy(std::uint32_t at, std::uint32_t bytes, Proxy proxy, WarpClocks::Clock& clock);

  /// The engine of products reads the words, on behalf of a warp, until end_matrix_read(): nobody may write them
  /// before.
  [[nodiscard]] std::string begin_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes);
  void end_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes);

  /// Words of a barrier object: ordinary accesses to them are wrong from now on.
  [[nodiscard]] std::string reserve(int warp, std::uint32_t at, std::uint32_t bytes);
  /// The warp may use the barrier here: it comes behind its initialisation.
  [[nodiscard]] std::string use_barrier(int warp, std::uint32_t at) const;
  /// A warp of another block arrives at a barrier here.
  void note_arrival(int warp) { remote_epochs_[static_cast<std::size_t>(warp)] = clocks_.now(warp); }
  /// Nobody of the block knows of an arrival from afar, or of a copy that has landed: the block could as well have
  /// ended before.
  [[nodiscard]] std::string end() const;

  std::byte* data() { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }

 private:
  enum class State : std::uint8_t { uninitialised, valid, in_flight, barrier };
  struct Word {
    std::uint32_t epoch = 0;  ///< of the writer
    std::uint16_t warp = 0;   ///< or engine
    State state = State::uninitialised;
    Proxy proxy = Proxy::ordinary;
    std::uint16_t matrix_reads = 0;  ///< under way, one a product and warp
  };
  std::string range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const;
  std::string read_complaint(int warp, std::size_t word) const;
  std::string write_complaint(int warp, std::size_t word) const;
  std::string writer_text(const Word& word) const;
  std::string warp_text(int warp) const;
  std::uint32_t& read_epoch(std::size_t word, int warp) {
    return read_epochs_[word * static_cast<std::size_t>(place_.count()) +
                        static_cast<std::size_t>(warp - place_.first)];
  }
  /// Ordinary writes that an engine, asked by `warp`, doesn't see.
  bool unfenced(int warp, const Word& word) const {
    return word.proxy == Proxy::ordinary && clocks_.fenced(warp, word.warp) < word.epoch;
  }
  bool knows(int warp) const;

  SharedPlace place_;
  WarpClocks& clocks_;
  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
  std::vector<std::uint32_t> read_epochs_;    ///< [word][warp of the block]
  std::vector<std::uint32_t> remote_epochs_;  ///< by warp of the cluster: of its last arrival at a barrier here
};

}  // namespace espalier::kernels::emulator
