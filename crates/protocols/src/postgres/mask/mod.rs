//! Masks on PostgreSQL's wire: values, rows, COPY streams and message texts.
