// Occupancy, fitness, the kernel catalog and the choice within our family.
#include "costmodel/kernel_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace espalier::costmodel {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using traces::HeadConfig;
using traces::parse_heads;

const HeadConfig kLlama = parse_heads("32/8/128");
const HeadConfig kLatent = parse_heads("128/1/576:512");
const HeadConfig kWide = parse_heads("16/8/256");

KernelConfig kernel_of(std::int32_t query_tile, std::int32_t kv_tile, std::int32_t stages, std::int32_t registers) {
  KernelConfig kernel;
  kernel.name = "test";
  kernel.query_tile = query_tile;
  kernel.kv_tile = kv_tile;
  kernel.stages = stages;
  kernel.registers = registers;
  return kernel;
}

TEST(SmemBytes, IsTheQueryTilePlusTheRing) {
  EXPECT_EQ(smem_bytes(kernel_of(16, 64, 3, 128), kLlama), 16 * 128 * 2 + 3 * 64 * 256 * 2);
  EXPECT_EQ(smem_bytes(kernel_of(64, 32, 2, 128), kLatent), 64 * 576 * 2 + 2 * 32 * 576 * 2);
  HeadConfig fp8 = kLlama;
  fp8.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_EQ(smem_bytes(kernel_of(16, 64, 3, 128), fp8), 16 * 128 * 2 + 3 * 64 * 256);
  KernelConfig fixed = kernel_of(16, 64, 3, 128);
  fixed.smem_bytes = 1000;
  EXPECT_EQ(smem_bytes(fixed, kLlama), 1000);
  KernelConfig gemm = kernel_of(64, 64, 2, 128);
  gemm.role = KernelRole::scores;
  EXPECT_EQ(smem_bytes(gemm, kLlama), 64 * 128 * 2 + 2 * 64 * 128 * 2);
  gemm.role = KernelRole::values;
  EXPECT_EQ(smem_bytes(gemm, kLlama), 64 * 64 * 2 + 2 * 64 * 128 * 2);
  gemm.role = KernelRole::reduce;
  EXPECT_EQ(smem_bytes(gemm, kLlama), 0);
}

TEST(CtasPerSm, IsBoundBySharedMemoryWithOneKibReserved) {
  const DeviceSpec h100 = find_device("h100-sxm");
  KernelConfig kernel = kernel_of(16, 64, 3, 64);
  kernel.smem_bytes = 75 * 1024;  // (75 + 1) x 3 = 228
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 3);
  kernel.smem_bytes += 1;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 2);
  kernel.smem_bytes = 227 * 1024;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 1);
  kernel.smem_bytes += 1;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 0);
  EXPECT_THAT(unfit_reason(kernel, kLlama, h100),
              HasSubstr("232449 bytes of shared memory a CTA, h100-sxm has 232448"));
}

TEST(CtasPerSm, IsBoundByRegistersInUnitsOf256AWarp) {
  const DeviceSpec h100 = find_device("h100-sxm");
  KernelConfig kernel = kernel_of(16, 16, 1, 128);  // 128 x 32 x 4 warps = 16384 of 65536
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 4);
  kernel.registers = 129;  // 4128 rounds up to 4352 a warp, 17408 a CTA
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 3);
  kernel.registers = 106;  // 3392 rounds up to 3584, 14336 a CTA: four; unrounded 13568 too
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 4);
  kernel.registers = 101;  // 3232 rounds up to 3328, 13312 a CTA: four; unrounded 12928 would give five
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 4);
  kernel.registers = 255;
  kernel.warps = 16;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 0);
  EXPECT_THAT(unfit_reason(kernel, kLlama, h100),
              HasSubstr("131072 registers"));  // 255 x 32 = 8160, rounded up 8192, x 16
}

TEST(CtasPerSm, IsBoundByWarpsAndCtas) {
  KernelConfig kernel = kernel_of(16, 1, 1, 32);
  kernel.smem_bytes = 16;
  kernel.role = KernelRole::reduce;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("h100-sxm")), 16);  // 64 warps / 4
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("l40s")), 12);      // 48 warps / 4
  kernel.warps = 1;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("h100-sxm")), 32);
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("a10g")), 16);
  kernel.warps = 32;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("h100-sxm:warps_per_sm=16")), 0);
}

TEST(UnfitReason, NamesMissingEngineAndSpilledAccumulators) {
  KernelConfig kernel = kernel_of(64, 32, 1, 200);
  EXPECT_EQ(unfit_reason(kernel, kLlama, find_device("a100-80")), "");
  // 64 x 512 fp32 values over 128 threads are 256 registers each.
  EXPECT_THAT(unfit_reason(kernel, kLatent, find_device("h100-sxm")), HasSubstr("256 accumulators"));
  kernel.engine = Engine::wgmma;
  EXPECT_EQ(unfit_reason(kernel, kLlama, find_device("h100-sxm")), "");
  EXPECT_THAT(unfit_reason(kernel, kLlama, find_device("a100-80")), HasSubstr("a100-80 lacks"));
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, find_device("a100-80")), 0);
}

TEST(UnfitReason, SurvivesSenselessSizes) {
  const DeviceSpec d = find_device("h100-sxm");
  for (std::int32_t KernelConfig::*member :
       {&KernelConfig::query_tile, &KernelConfig::kv_tile, &KernelConfig::rows_per_warp, &KernelConfig::stages,
        &KernelConfig::warps, &KernelConfig::registers}) {
    for (const std::int32_t value : {0, -1, std::numeric_limits<std::int32_t>::max()}) {
      KernelConfig kernel = kernel_of(16, 64, 2, 128);
      kernel.*member = value;
      EXPECT_EQ(ctas_per_sm(kernel, kLlama, d), 0) << value;
      EXPECT_THAT(unfit_reason(kernel, kLlama, d), HasSubstr("expected 1 to")) << value;
    }
  }
  KernelConfig kernel =
      kernel_of(16, std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::max(), 128);
  EXPECT_THROW(smem_bytes(kernel, kLlama), core::Error);
}

TEST(KernelCatalog, HoldsOurFamilyAndThePublishedKernels) {
  std::set<std::string> names;
  for (const KernelConfig& kernel : kernel_catalog()) {
    EXPECT_TRUE(names.insert(kernel.name).second) << kernel.name;
    EXPECT_TRUE(!kernel.implemented || kernel.name.starts_with("espalier_")) << kernel.name;
    EXPECT_THAT(kernel.origin, HasSubstr("assumed")) << kernel.name;
    EXPECT_NO_THROW(check_kernel(kernel, kernel.name));
    EXPECT_EQ(&find_kernel(kernel.name), &kernel);
  }
  for (const char* name :
       {"espalier_mma_m16", "espalier_mma_m32", "espalier_mma_m64", "espalier_mma_m128", "espalier_reduce", "fa2_split",
        "fa2_combine", "flashinfer_prefill_m16", "flashinfer_prefill_m64", "flashinfer_prefill_m128",
        "flashinfer_merge", "deft_flatten", "deft_reduce", "codec_pac", "codec_por", "bifurcated_scores",
        "bifurcated_softmax", "bifurcated_values", "bifurcated_sum"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(KernelCatalog, KeepsThePublishedTiles) {
  const KernelConfig& fa2 = find_kernel("fa2_split");
  EXPECT_EQ(smem_bytes(fa2, kLlama), 80 * 1024);
  EXPECT_EQ(ctas_per_sm(fa2, kLlama, find_device("h100-sxm")), 2);  // the two CTAs an SM that its split rule counts on
  EXPECT_EQ(smem_bytes(find_kernel("codec_pac"), kLlama), 80 * 1024);
  EXPECT_EQ(find_kernel("codec_pac").partial_dtype, traces::Dtype::fp16);
  EXPECT_FALSE(find_kernel("deft_flatten").packs_heads);
  EXPECT_EQ(find_kernel("deft_flatten").query_tile, 32);
  EXPECT_EQ(find_kernel("flashinfer_prefill_m64").partial_dtype, traces::Dtype::bf16);
  EXPECT_EQ(ctas_per_sm(find_kernel("flashinfer_decode"), kLlama, find_device("h100-sxm")),
            4);  // the occupancy its acceptance values take
  EXPECT_EQ(ctas_per_sm(find_kernel("flashinfer_persistent_m16"), kLlama, find_device("h100-sxm")), 2);
  EXPECT_EQ(ctas_per_sm(find_kernel("lean_attend"), kLlama, find_device("a100-80")), 2);
  EXPECT_EQ(ctas_per_sm(find_kernel("fa3_m128_n128"), kLlama, find_device("h100-sxm")), 1);
  EXPECT_EQ(ctas_per_sm(find_kernel("flashmla_m64"), kLatent, find_device("h100-sxm")), 1);
}

TEST(KernelCatalog, EveryPublishedKernelFitsSomewhereAtItsHeadDims) {
  for (const KernelConfig& kernel : kernel_catalog()) {
    const std::string_view heads = kernel.name.ends_with("_n256")  ? "32/8/64"
                                   : kernel.name.ends_with("_n64") ? "32/8/256"
                                                                   : "32/8/128";
    EXPECT_EQ(unfit_reason(kernel, parse_heads(heads), find_device("h100-sxm")), "");
    const bool ampere = kernel.engine != Engine::wgmma;
    EXPECT_GE(ctas_per_sm(kernel, parse_heads("32/8/64"), find_device(ampere ? "a100-80" : "h100-sxm")), 1)
        << kernel.name;
  }
}

TEST(FindKernel, SuggestsTheNearestName) {
  try {
    find_kernel("espalier_mm_m64");
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::usage);
    EXPECT_THAT(error.what(), HasSubstr("espalier_mma_m64"));
  }
}

TEST(ReadKernel, TakesEveryKey) {
  const auto document = core::JsonDocument::parse(
      R"({"name": "k", "role": "scores", "engine": "wgmma", "query_tile": 1, "kv_tile": 2, "rows_per_warp": 3,
          "packs_heads": false, "stages": 4, "warps": 5, "smem_bytes": 6, "registers": 7, "cluster": 8, "lookups": 9,
          "partial_dtype": "fp16", "overlap": 0.25, "efficiency": 0.5, "implemented": true, "origin": "o",
          "x_note": 1})",
      "k.json");
  const KernelConfig expected{.name = "k",
                              .role = KernelRole::scores,
                              .engine = Engine::wgmma,
                              .query_tile = 1,
                              .kv_tile = 2,
                              .rows_per_warp = 3,
                              .packs_heads = false,
                              .stages = 4,
                              .warps = 5,
                              .smem_bytes = 6,
                              .registers = 7,
                              .cluster = 8,
                              .lookups = 9,
                              .partial_dtype = traces::Dtype::fp16,
                              .overlap = 0.25,
                              .efficiency = 0.5,
                              .implemented = true,
                              .origin = "o"};
  EXPECT_EQ(read_kernel(document.root()), expected);
}

TEST(ReadKernel, NamesWhatIsWrong) {
  const auto message = [](const std::string& body) -> std::string {
    try {
      const auto document = core::JsonDocument::parse(R"({"name": "k", "kv_tile": 64, )" + body + "}", "k.json");
      read_kernel(document.root());
    } catch (const core::Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(R"("role": "attend", "query_tile": 16)"), "");
  EXPECT_THAT(message(R"("role": "attack", "query_tile": 16)"), HasSubstr("role"));
  EXPECT_THAT(message(R"("role": "attend", "query_tile": 0)"), HasSubstr("query_tile"));
  EXPECT_THAT(message(R"("role": "attend")"), HasSubstr("query_tile"));
  EXPECT_THAT(message(R"("role": "attend", "query_tile": 16, "registers": 256)"), HasSubstr("registers"));
  EXPECT_THAT(message(R"("role": "attend", "query_tile": 16, "partial_dtype": "fp9")"), HasSubstr("fp9"));
  EXPECT_THAT(message(R"("role": "attend", "query_tile": 16, "tiles": 1)"), HasSubstr("tiles"));
}

TEST(Occupancy, GivesEachPartitionOfAnSmItsWarps) {
  KernelConfig kernel;
  kernel.name = "x";
  kernel.smem_bytes = 1024;
  kernel.warps = 5;
  kernel.registers = 184;  // 65536 / (5 x 5888) is 2, but a quarter of the registers holds two warps: eight an SM
  const DeviceSpec h100 = find_device("h100-sxm");
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 1);
  kernel.registers = 168;  // three: twelve an SM
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 2);
  kernel.registers = 176;
  EXPECT_EQ(ctas_per_sm(kernel, kLlama, h100), 1);
}

TEST(Occupancy, TakesRegistersAsTheyWereCompiledForTheHeads) {
  const DeviceSpec h100 = find_device("h100-sxm");
  HeadConfig fp8 = kLlama;
  fp8.kv_dtype = traces::Dtype::fp8_e4m3;
  KernelConfig m16 = find_kernel("espalier_mma_m16");
  EXPECT_EQ(ctas_per_sm(m16, fp8, h100), 2);  // 204 registers; 53 KB of shared memory would let four in
  const HeadConfig narrow = parse_heads("32/8/64");
  EXPECT_EQ(ctas_per_sm(m16, narrow, h100), 3);  // 147
  EXPECT_EQ(ctas_per_sm(find_kernel("espalier_mma_m64"), narrow, h100), 3);
  m16.name = "someone_elses_m16";
  EXPECT_EQ(ctas_per_sm(m16, fp8, h100), 4);
}

TEST(OurAttendKernel, TakesTheSmallestTileThatHoldsTheRows) {
  const DeviceSpec h100 = find_device("h100-sxm");
  EXPECT_EQ(our_attend_kernel(1, kLlama, h100).name, "espalier_mma_m16");
  EXPECT_EQ(our_attend_kernel(16, kLlama, h100).name, "espalier_mma_m16");
  EXPECT_EQ(our_attend_kernel(17, kLlama, h100).name, "espalier_mma_m32");
  EXPECT_EQ(our_attend_kernel(64, kLlama, h100).name, "espalier_mma_m64");
  EXPECT_EQ(our_attend_kernel(65, kLlama, h100).name, "espalier_mma_m128");
  EXPECT_EQ(our_attend_kernel(100000, kLlama, h100).name, "espalier_mma_m128");
  EXPECT_EQ(our_largest_tile(kLlama, h100), 128);
  EXPECT_EQ(ctas_per_sm(find_kernel("espalier_mma_m16"), kLlama, h100), 2);
  EXPECT_EQ(ctas_per_sm(find_kernel("espalier_mma_m64"), kLlama, h100), 2);
  EXPECT_EQ(ctas_per_sm(find_kernel("espalier_mma_m128"), kLlama, h100), 1);
}

TEST(OurAttendKernel, FitsEveryDeviceAndHeadConfiguration) {
  for (const DeviceSpec& device : device_catalog()) {
    for (const char* text :
         {"32/32/128", "32/8/128", "28/4/128", "64/8/64", "16/1/128", "128/1/576:512", "16/1/576:512", "16/8/256"}) {
      const HeadConfig heads = parse_heads(text);
      for (const std::int64_t rows : {1, 16, 33, 64, 128, 1000}) {
        const KernelConfig& kernel = our_attend_kernel(rows, heads, device);
        EXPECT_GE(ctas_per_sm(kernel, heads, device), 1) << device.name << " " << text << " " << kernel.name;
        EXPECT_LE(kernel.query_tile, our_largest_tile(heads, device));
        EXPECT_GE(kernel.query_tile, std::min<std::int64_t>(rows, our_largest_tile(heads, device)));
      }
    }
  }
}

TEST(OurAttendKernel, ListsWhatItGivesForAnyNumberOfRows) {
  DeviceSpec tiny = find_device("h100-sxm");
  tiny.smem_kib_per_cta = 1;
  for (const HeadConfig& heads : {kLlama, kLatent, kWide, parse_heads("32/8/64")}) {
    EXPECT_THAT(our_attend_kernels(heads, tiny), IsEmpty());
    for (const char* name : {"h100-sxm", "a100-80", "l40s"}) {
      const DeviceSpec device = find_device(name);
      std::vector<const KernelConfig*> one_by_one;
      for (std::int64_t rows = 1;;) {
        const KernelConfig& kernel = our_attend_kernel(rows, heads, device);
        if (kernel.query_tile < rows) break;
        one_by_one.push_back(&kernel);
        rows = kernel.query_tile + 1;
      }
      EXPECT_EQ(our_attend_kernels(heads, device), one_by_one) << name;
    }
  }
}

TEST(OurAttendKernel, ShortensRingThenTileWhereMemoryIsShort) {
  EXPECT_EQ(our_attend_kernel(1, kLlama, find_device("l40s")).name, "espalier_mma_m16_s2");
  EXPECT_EQ(our_attend_kernel(64, kLatent, find_device("a100-80")).name, "espalier_mma_m64_n32");
  EXPECT_EQ(our_attend_kernel(128, kLatent, find_device("h100-sxm")).query_tile, 64);
  EXPECT_EQ(our_attend_kernel(1, kWide, find_device("l40s")).name, "espalier_mma_m16_n32");
  EXPECT_EQ(our_largest_tile(kLatent, find_device("l40s")), 16);
}

TEST(OurAttendKernel, RefusesWhenNothingFits) {
  try {
    our_attend_kernel(1, kLlama, find_device("l4:smem_kib_per_cta=8"));
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::check_failed);
    EXPECT_THAT(error.what(), HasSubstr("32/8/128"));
    EXPECT_THAT(error.what(), HasSubstr("shared memory"));
  }
}

}  // namespace
}  // namespace espalier::costmodel
