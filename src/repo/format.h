/* The numbers of the repository format, each with its source in docs/format.md (chapter of the format document). */
#ifndef HF_REPO_FORMAT_H
#define HF_REPO_FORMAT_H

#include "base/defs.h"

enum blob_kind {
	BLOB_DATA,
	BLOB_TREE
};

#define PACK_TARGET_DEFAULT_BYTES (16U << 20)  /* 4 */
#define PACK_TARGET_MIN_BYTES     (4U << 20)   /* 4 */
#define PACK_TARGET_MAX_BYTES     (128U << 20) /* 4 */
#define PACK_HEADER_MAX_BYTES     (16U << 20)  /* 4: sealed header */
#define PACK_MIN_BYTES            73U          /* 4 */
#define PACK_ENTRY_PLAIN_BYTES    37U          /* 4 */
#define PACK_ENTRY_ZSTD_BYTES     41U          /* 4 */
#define CHUNK_MIN_BYTES           524288U      /* 9.2 */
#define CHUNK_MAX_BYTES           8388608U     /* 9.2 */
#define CHUNK_WINDOW_BYTES        64U          /* 9.2 */
#define INDEX_FULL_BLOBS          50000U       /* 5.2 */
#define INDEX_FULL_AGE_S          600U         /* 5.2 */
#define KEYS_TRIED_MAX            20U          /* 2.5 */
#define LOCK_REFRESH_S            300          /* 8.3 */
#define LOCK_LOST_AFTER_S         1350         /* 8.3: 22.5 minutes */
#define LOCK_STALE_S              1800         /* 8.4 */
#define LOCK_RECHECK_MS           200          /* 8.2 */
/* Trees above 50 MiB were seen (4); 100,000 entries of 600 bytes are 60 MB.  Half the 32-bit range. */
#define BLOB_PLAIN_MAX_BYTES      ((size_t)1 << 31)
/* Index, snapshot and lock texts: "some GiB" (10.2); an index of 50,000 blobs is 8 MB. */
#define UNPACKED_MAX_BYTES        ((size_t)1 << 31)
/* A key, config or lock file; real ones are below 1 KiB. */
#define SMALL_OBJECT_MAX_BYTES    ((size_t)1 << 20)

#endif
