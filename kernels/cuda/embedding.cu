// Rows of the embedding table. Bound by latency: a row is a few kilobytes.
#include "prelude.cuh"

// out (rows, columns) = table[rows[i]], table (table_rows, columns). A block for each row; its
// threads stride over the columns. A row past the table stops the kernel with an error.
template <class T>
__device__ __forceinline__ void embed(const T *table, const u32 *rows, float *out, u32 columns,
                                      u32 table_rows) {
    const u32 row = rows[blockIdx.x];
    if (row >= table_rows) {
        __trap();
    }
    const T *const from = table + u64(row) * columns;
    float *const to = out + u64(blockIdx.x) * columns;
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x) {
        to[column] = widen(from[column]);
    }
}

KERNEL(embed_f32)(const float *table, const u32 *rows, float *out, u32 columns, u32 table_rows) {
    embed(table, rows, out, columns, table_rows);
}

KERNEL(embed_bf16)(const bf16 *table, const u32 *rows, float *out, u32 columns, u32 table_rows) {
    embed(table, rows, out, columns, table_rows);
}

KERNEL(embed_f16)(const f16 *table, const u32 *rows, float *out, u32 columns, u32 table_rows) {
    embed(table, rows, out, columns, table_rows);
}
